package scenario

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pos is a place in a file.
type Pos struct {
	Line int `json:"line"` // from 1
	Col  int `json:"col"`  // in characters, from 1
}

// Error is what is wrong at one place of a file.
type Error struct {
	File string
	Pos
	Text string
}

// Error returns FILE:LINE:COL: and what is wrong.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Text) }

// tokenKind tells the words of a line apart.
type tokenKind uint8

const (
	word tokenKind = iota
	quoted
	colon
	comma
	end // of the line
)

// token is one word of a line.
type token struct {
	kind tokenKind
	text string
	Pos
}

// show names a token in an error.
func (t token) show() string {
	if t.kind == end {
		return "the end of the line"
	}
	return fmt.Sprintf("%.60q", t.text)
}

// split cuts a line into words. A '#' outside quotes begins a comment.
func split(line string, number int) (tokens []token, err *Error) {
	col := 0
	for rest := line; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		col++
		at := Pos{number, col}
		switch {
		case r == '#':
			rest = ""
		case unicode.IsSpace(r):
			rest = rest[size:]
		case r == ':' || r == ',':
			kind := colon
			if r == ',' {
				kind = comma
			}
			tokens = append(tokens, token{kind, string(r), at})
			rest = rest[size:]
		case r == '"':
			text, after, ok := strings.Cut(rest[1:], `"`)
			if !ok {
				return nil, &Error{Pos: at, Text: `the quote is not closed: end it with '"' on the same line`}
			}
			tokens = append(tokens, token{quoted, text, at})
			col += utf8.RuneCountInString(text) + 1
			rest = after
		case r == utf8.RuneError && size == 1 || !unicode.IsPrint(r):
			return nil, &Error{Pos: at, Text: fmt.Sprintf("%q is no character that a scenario may hold: write plain UTF-8 text", rest[:size])}
		default:
			n := wordLength(rest)
			tokens = append(tokens, token{word, rest[:n], at})
			col += utf8.RuneCountInString(rest[:n]) - 1
			rest = rest[n:]
		}
	}
	return tokens, nil
}

func wordLength(text string) int {
	for i, r := range text {
		if unicode.IsSpace(r) || strings.ContainsRune(`#:,"`, r) || !unicode.IsPrint(r) || r == utf8.RuneError {
			return i
		}
	}
	return len(text)
}
