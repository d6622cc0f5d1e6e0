package scenario

import (
	"fmt"
	"slices"
	"strings"
)

// Form is one way of writing a line, or one side of its colon.
//
// Syntax is what docs/scenarios.md shows: words in lower case stand for themselves, with
// | between those that mean the same; what is in capitals is a slot, whose name
// also says what may stand there; what is in brackets may be left out, and several such
// in a row may come in any order.
type Form struct {
	Syntax string
	Means  string // in one line, for the page
	parts  []part
}

// part is one element of a form: words, a slot, or a group that may be left out.
type part struct {
	words []string
	slot  string
	group []part
}

// form makes a Form. Its syntax is part of the program, so it panics on mistakes.
func form(syntax, means string) *Form {
	spaced := strings.NewReplacer("[", " [ ", "]", " ] ").Replace(syntax)
	parts, rest := compile(strings.Fields(spaced))
	if len(rest) > 0 {
		panic("scenario: unbalanced brackets in " + syntax)
	}
	return &Form{Syntax: syntax, Means: means, parts: parts}
}

func compile(fields []string) (parts []part, rest []string) {
	for len(fields) > 0 {
		f := fields[0]
		fields = fields[1:]
		switch {
		case f == "[":
			var group []part
			group, fields = compile(fields)
			parts = append(parts, part{group: group})
		case f == "]":
			return parts, fields
		case strings.ToUpper(f) == f:
			if slots[f] == nil {
				panic("scenario: unknown slot " + f)
			}
			parts = append(parts, part{slot: f})
		default:
			parts = append(parts, part{words: strings.Split(f, "|")})
		}
	}
	return parts, nil
}

// Phrase is a form filled in.
type Phrase struct {
	Form *Form
	Pos  Pos
	Text string // as it is written in the file, single-spaced
	have map[string]Value
}

// Has reports whether a word that may be left out, or a slot, was written.
func (p *Phrase) Has(name string) bool { _, ok := p.have[name]; return ok }

// Names returns the names in a slot, none when it was left out. Ranges and "all" are
// written out; "master" and "others" stand for themselves.
func (p *Phrase) Names(slot string) []string { return p.have[slot].Names }

// Span returns the time or the range of times in a slot.
func (p *Phrase) Span(slot string) (Span, bool) { v, ok := p.have[slot]; return v.Span, ok }

// Number returns the number in a slot: a size in bytes, a share of 1, or just a number.
func (p *Phrase) Number(slot string) float64 { return p.have[slot].Number }

// Word returns the word or the text in a slot.
func (p *Phrase) Word(slot string) string { return p.have[slot].Text }

// Count returns the count in a slot.
func (p *Phrase) Count(slot string) (Count, bool) { v, ok := p.have[slot]; return v.Count, ok }

// reader matches the tokens of one line against forms, and remembers how far
// any of them came, since that is where the mistake is.
type reader struct {
	tokens  []token // the last is of kind end
	names   *names
	far     int
	wanted  []string // words that could stand at far
	what    []string // and other things
	refusal string   // what is wrong with the token at far

	nameless bool // the token at far is a name that is not declared
}

func (r *reader) at(i int) token { return r.tokens[min(i, len(r.tokens)-1)] }

// reach notes that something was looked for at a token in vain.
func (r *reader) reach(i int) bool {
	if i < r.far {
		return false
	}
	if i > r.far {
		r.far, r.wanted, r.what, r.refusal, r.nameless = i, nil, nil, "", false
	}
	return true
}

func (r *reader) wantWords(i int, words []string) {
	if r.reach(i) {
		r.wanted = append(r.wanted, words...)
	}
}

func (r *reader) want(i int, what string) {
	if r.reach(i) {
		r.what = append(r.what, what)
	}
}

func (r *reader) refuse(i int, format string, args ...any) {
	if r.reach(i) && r.refusal == "" {
		r.refusal = fmt.Sprintf(format, args...)
	}
}

// phrase matches the tokens from i up to one of kind stop with the first form that fits.
func (r *reader) phrase(forms []*Form, i int, stop tokenKind) (p *Phrase, next int) {
	for _, f := range forms {
		have := map[string]Value{}
		next, ok := r.match(f.parts, i, have)
		if !ok {
			continue
		}
		if r.at(next).kind != stop {
			r.want(next, map[tokenKind]string{end: "the end of the line", colon: `":"`}[stop])
			continue
		}
		return &Phrase{Form: f, Pos: r.at(i).Pos, Text: r.text(i, next), have: have}, next
	}
	return nil, i
}

// text returns tokens as they were written.
func (r *reader) text(from, to int) string {
	var b strings.Builder
	for _, t := range r.tokens[from:to] {
		if b.Len() > 0 && t.kind != comma && t.kind != colon {
			b.WriteByte(' ')
		}
		if t.kind == quoted {
			fmt.Fprintf(&b, "%q", t.text)
		} else {
			b.WriteString(t.text)
		}
	}
	return b.String()
}

func (r *reader) match(parts []part, i int, have map[string]Value) (next int, ok bool) {
	for k := 0; k < len(parts); k++ {
		p := parts[k]
		switch {
		case p.group != nil:
			last := k
			for last+1 < len(parts) && parts[last+1].group != nil {
				last++
			}
			if i, ok = r.options(parts[k:last+1], i, have); !ok {
				return i, false
			}
			k = last
		case p.slot != "":
			v, n, ok := slots[p.slot].read(r, i)
			if !ok {
				return i, false
			}
			have[p.slot] = v
			i = n
		default:
			if !r.isWord(i, p.words) {
				r.wantWords(i, p.words)
				return i, false
			}
			have[p.words[0]] = Value{}
			i++
		}
	}
	return i, true
}

func (r *reader) isWord(i int, words []string) bool {
	t := r.at(i)
	return t.kind == word && slices.Contains(words, t.text)
}

// options matches groups that may be left out and come in any order. Each begins
// with a word.
func (r *reader) options(groups []part, i int, have map[string]Value) (next int, ok bool) {
	groups = slices.Clone(groups)
next:
	for k, g := range groups {
		if r.isWord(i, g.group[0].words) {
			if i, ok = r.match(g.group, i, have); !ok {
				return i, false
			}
			groups = slices.Delete(groups, k, k+1)
			goto next
		}
	}
	for _, g := range groups {
		r.wantWords(i, g.group[0].words)
	}
	return i, true
}

// mistake says what is wrong with the line, at the word that no form could get over.
func (r *reader) mistake() *Error {
	t := r.at(r.far)
	e := &Error{Pos: t.Pos}
	slices.Sort(r.wanted)
	wanted := slices.Compact(r.wanted)
	near := nearest(t, wanted)
	switch {
	case near != "":
		e.Text = fmt.Sprintf("unknown word %s; did you mean %q?", t.show(), near)
	case r.refusal != "":
		e.Text = r.refusal
	case t.kind == word && len(r.what) == 0:
		e.Text = fmt.Sprintf("unknown word %s; write %s", t.show(), oneOf(wanted, nil))
	default:
		e.Text = fmt.Sprintf("%s stands where there should be %s", t.show(), oneOf(wanted, r.what))
	}
	return e
}

// oneOf lists what could stand at a place.
func oneOf(words, what []string) string {
	slices.Sort(what)
	all := slices.Compact(what)
	for _, w := range words {
		all = append(all, fmt.Sprintf("%q", w))
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}

// nearest returns the word that a token is a misspelling of, or "".
func nearest(t token, words []string) string {
	if t.kind != word {
		return ""
	}
	best, least := "", 1+len(t.text)/3
	for _, w := range words {
		if d := distance(t.text, w); d <= least && (best == "" || d < distance(t.text, best)) {
			best = w
		}
	}
	return best
}

// distance counts the letters to insert, remove, change or swap with their neighbour.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 40 {
		return len(x)
	}
	table := make([][]int, len(x)+1)
	for i := range table {
		table[i] = make([]int, len(y)+1)
		for j := range table[i] {
			table[i][j] = step(table, x, y, i, j)
		}
	}
	return table[len(x)][len(y)]
}

func step(table [][]int, x, y []rune, i, j int) int {
	if i == 0 || j == 0 {
		return i + j
	}
	change := 1
	if x[i-1] == y[j-1] {
		change = 0
	}
	d := min(table[i-1][j]+1, table[i][j-1]+1, table[i-1][j-1]+change)
	if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
		d = min(d, table[i-2][j-2]+1)
	}
	return d
}
