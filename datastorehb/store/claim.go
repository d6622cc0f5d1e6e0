package store

import (
	"errors"
	"fmt"
	"path"

	"storebeat/datastorehb"
)

// Result is how a claim ended. Winner is the value that holds the number, or a
// higher one, where it could be read.
type Result struct {
	Outcome datastorehb.Outcome
	Winner  *datastorehb.Record
}

// errUndecided means that the final name was not found.
var errUndecided = errors.New("nobody holds it yet")

// Claim tries to create the value rec of its register, in one attempt, under a
// nonce that was never used before. ClaimWon and ClaimLost are certain. ClaimFailed is
// not: the attempt may still win, after the call has returned, and nobody may
// conclude anything from it. An error comes with ClaimFailed only, and with a claim
// that was lost to a value that can't be read.
//
// What link(2) returns decides nothing, since replies get lost and orders get
// repeated. The final name decides, by the nonce it holds, and then the listing: a
// higher number means that this one was removed long ago and the win is void.
func (s *Store) Claim(rec datastorehb.Record) (Result, error) {
	if err := s.enter(); err != nil {
		return Result{}, err
	}
	defer s.leave()
	raw, err := datastorehb.EncodeRecord(alignedBuffer(datastorehb.RecordSize(min(len(rec.Payload), datastorehb.MaxPayload))), s.written(), &rec)
	if err != nil {
		return Result{}, fmt.Errorf("claim on %s: %w", s.path, err)
	}
	f, err := s.stage(raw)
	if err != nil {
		return Result{}, fmt.Errorf("claim %s, number %d, on %s: write it in full: %w", rec.Register, rec.Number, s.path, err)
	}
	linked := s.link(f.name, rec)
	s.ready.spent(f) // not before: a refill unlinks what is spent
	res, err := s.judge(rec)
	if errors.Is(err, errUndecided) {
		res, err = s.judge(rec) // The listing has made a client that caches look again.
	}
	if err != nil && linked != nil {
		err = fmt.Errorf("%w (link: %w)", err, linked)
	}
	return res, err
}

// stage writes the value into a file that no other attempt has used or will use.
// The caller calls spent when it needs the file's name no more.
func (s *Store) stage(raw []byte) (f *claimFile, err error) {
	f = s.ready.take()
	if f == nil || len(raw) > datastorehb.BlockSize {
		s.ready.putBack(f)
		if f, err = s.newClaimFile(); err != nil {
			return nil, err
		}
	}
	if _, err = f.file.WriteAt(raw, 0); err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		s.ready.spent(f)
		return nil, err
	}
	return f, nil
}

// link gives the file its final name, and makes the register's directories if
// this is its first value. A second link of the same file is the same attempt.
func (s *Store) link(name string, rec datastorehb.Record) error {
	final := recordName(rec.Register, rec.Number)
	err := s.fs.Link(name, final)
	if !isAbsent(err) {
		return err
	}
	if err := s.makeDirs(rec.Register); err != nil {
		return err
	}
	return s.fs.Link(name, final)
}

// makeDirs makes the directories of a register, durably. Those above it were
// made by Init, and are not made again: they would be empty.
func (s *Store) makeDirs(reg datastorehb.Register) error {
	dir := registerDir(reg)
	dirs := []string{dir}
	if top := topDir(reg); path.Dir(dir) != top {
		dirs = []string{path.Dir(dir), dir}
	}
	for _, d := range dirs {
		if err := s.fs.Mkdir(d); err != nil && !isExisting(err) {
			return err
		}
		if err := s.fs.SyncDir(path.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// judge finds out who holds the number.
func (s *Store) judge(rec datastorehb.Record) (Result, error) {
	held, state, err := s.readRecord(rec.Register, rec.Number)
	if state == datastorehb.Valid && held.Nonce != rec.Nonce {
		return Result{datastorehb.ClaimLost, &held}, nil
	}
	if state == datastorehb.Unreadable || state == datastorehb.Corrupt {
		return Result{}, fmt.Errorf("claim number %d: %w", rec.Number, err)
	}
	numbers, err := s.numbers(rec.Register)
	if err != nil {
		return Result{}, fmt.Errorf("claim number %d: %w", rec.Number, err)
	}
	if len(numbers) > 0 && numbers[len(numbers)-1] > rec.Number {
		return s.overtaken(rec.Register, numbers[len(numbers)-1])
	}
	if state == datastorehb.Absent {
		return Result{}, fmt.Errorf("claim %s, number %d, on %s: %w", rec.Register, rec.Number, s.path, errUndecided)
	}
	if err := s.fs.SyncDir(registerDir(rec.Register)); err != nil {
		return Result{}, fmt.Errorf("claim %s, number %d, on %s: make it durable: %w", rec.Register, rec.Number, s.path, err)
	}
	return Result{datastorehb.ClaimWon, &held}, nil
}

// overtaken reports a claim that came after higher numbers.
func (s *Store) overtaken(reg datastorehb.Register, number uint64) (Result, error) {
	held, state, err := s.readRecord(reg, number)
	if state != datastorehb.Valid {
		return Result{Outcome: datastorehb.ClaimLost}, err
	}
	return Result{datastorehb.ClaimLost, &held}, nil
}
