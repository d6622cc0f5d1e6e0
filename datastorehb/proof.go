package datastorehb

// Proof is everything on one datastore that counts as a sign of life of one
// host: its own slot and the vouches for it. Two equal proofs mean silence.
type Proof struct {
	state    ReadState
	boot     [16]byte
	machine  [16]byte
	agent    uint64
	sequence uint64
	custody  uint64 // the term that the own slot says is in custody
	sum      uint64 // of the own slot while corrupt
	vouches  digest // over all vouches for the host
	corrupt  uint64 // over the other corrupt slots, any of which may hide a vouch
}

// ProofOf extracts the proof of life of one host from one complete read of a
// heartbeat region. ok is false when a slot could not be read, or when the host
// has none there: then nothing follows from the read.
func ProofOf(host HostID, slots []SlotReading) (p Proof, ok bool) {
	p.vouches = newDigest()
	for i := range slots {
		r := &slots[i]
		if r.State == Unreadable {
			return Proof{}, false
		}
		if r.Host == host {
			p.own(r)
			ok = true
			continue
		}
		p.corrupt += corruption(r)
		for _, v := range vouchesIn(r) {
			if v.Host == host {
				p.vouches.add(uint64(r.Host), v.Incarnation, v.Sequence)
			}
		}
	}
	if !ok {
		return Proof{}, false
	}
	return p, true
}

// ProofsOf is ProofOf for every host of the region at once, in one pass: the
// proof of slots[i].Host is at index i. The slots must be a whole region, as
// DecodeRegion returns it; dst's memory is used again.
func ProofsOf(slots []SlotReading, dst []Proof) (proofs []Proof, ok bool) {
	proofs = dst[:0]
	corrupt := uint64(0)
	for i := range slots {
		if slots[i].State == Unreadable || int(slots[i].Host) != i+1 {
			return proofs[:0], false
		}
		corrupt += corruption(&slots[i])
		proofs = append(proofs, Proof{vouches: newDigest()})
	}
	for i := range slots {
		r := &slots[i]
		proofs[i].own(r)
		proofs[i].corrupt = corrupt - corruption(r)
		for _, v := range vouchesIn(r) {
			if v.Host != r.Host && v.Host != 0 && int(v.Host) <= len(proofs) {
				proofs[v.Host-1].vouches.add(uint64(r.Host), v.Incarnation, v.Sequence)
			}
		}
	}
	return proofs, true
}

func (p *Proof) own(r *SlotReading) {
	p.state = r.State
	if r.State == Valid {
		p.machine, p.boot, p.agent, p.sequence = r.Slot.Machine, r.Slot.Boot, r.Slot.Incarnation, r.Slot.Sequence
		p.custody = r.Slot.Custody
	} else {
		p.sum = r.Sum
	}
}

func vouchesIn(r *SlotReading) []Vouch {
	if r.State != Valid {
		return nil
	}
	return r.Slot.Vouches
}

// corruption is 0 for a slot that is not corrupt. It can be added up, and taken
// out of the sum again.
func corruption(r *SlotReading) uint64 {
	if r.State != Corrupt {
		return 0
	}
	d := newDigest()
	d.add(uint64(r.Host), r.Sum)
	return uint64(d)
}

// digest is FNV-1a over 64-bit words.
type digest uint64

func newDigest() digest { return 14695981039346656037 }

func (d *digest) add(words ...uint64) {
	for _, w := range words {
		for range 8 {
			*d ^= digest(w & 0xff)
			*d *= 1099511628211
			w >>= 8
		}
	}
}
