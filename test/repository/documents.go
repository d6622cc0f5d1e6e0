package repository

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Document is one Markdown file and the files that it links to.
type Document struct {
	Path  string   // from the root of the repository, with slashes
	Links []string // likewise
	Text  string
}

var (
	linkForm   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced     = regexp.MustCompile("(?s)```.*?```")
	otherPlace = regexp.MustCompile(`^([a-z]+:|#)`)
)

// Documents reads the Markdown files of the repository.
func Documents(root string) (documents []Document, err error) {
	err = walk(root, func(file string) error {
		if filepath.Ext(file) != ".md" {
			return nil
		}
		content, err := os.ReadFile(filepath.Join(root, file))
		if err == nil {
			documents = append(documents, readDocument(file, string(content)))
		}
		return err
	})
	return documents, err
}

func readDocument(file, text string) Document {
	d := Document{Path: file, Text: text}
	for _, match := range linkForm.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		target, _, _ := strings.Cut(match[1], "#")
		if !otherPlace.MatchString(match[1]) {
			d.Links = append(d.Links, path.Join(path.Dir(file), target))
		}
	}
	return d
}

// BrokenLinks lists links to files that do not exist.
func BrokenLinks(root string, documents []Document) (broken []string) {
	for _, d := range documents {
		for _, link := range d.Links {
			if _, err := os.Stat(filepath.Join(root, link)); err != nil {
				broken = append(broken, fmt.Sprintf("%s links to %s, which does not exist", d.Path, link))
			}
		}
	}
	return broken
}

// Unlinked lists the documents in docs that a reader who begins at README.md can
// not find.
func Unlinked(documents []Document) (broken []string) {
	found, next := map[string]bool{}, []string{"README.md"}
	for len(next) > 0 {
		at := slices.IndexFunc(documents, func(d Document) bool { return d.Path == next[0] })
		if next = next[1:]; at < 0 || found[documents[at].Path] {
			continue
		}
		found[documents[at].Path] = true
		next = append(next, documents[at].Links...)
	}
	for _, d := range documents {
		if strings.HasPrefix(d.Path, "docs/") && !found[d.Path] {
			broken = append(broken, d.Path+" can not be reached from README.md; link to it there or in another document")
		}
	}
	return broken
}
