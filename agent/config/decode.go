package config

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// MaxFileSize is the largest configuration file, in bytes: 1,000 hosts with
// long comments fit many times.
const MaxFileSize = 1 << 20

// Load reads and judges the configuration file and the cluster key that it
// names. The configuration is nil if there is any error; there may be warnings
// either way.
func Load(path string) (*Config, hcl.Diagnostics) {
	full, err := filepath.Abs(path)
	if err != nil {
		full = path
	}
	content, err := readFile(full)
	if err != nil {
		return nil, hcl.Diagnostics{unreadable(path, err)}
	}
	c, diags := parse(full, content)
	if filepath.IsAbs(c.Cluster.KeyFile) { // else the file was not understood far enough to know the key
		if c.key, err = ReadKey(c.Cluster.KeyFile); err != nil {
			diags = append(diags, problem(c.places.of("cluster.key_file"), "Unusable cluster key", err.Error()+"."))
		}
	}
	return judged(c, diags)
}

// Parse judges a configuration without its key. The file name stands in errors,
// and its folder is where relative paths start.
func Parse(filename string, content []byte) (*Config, hcl.Diagnostics) {
	return judged(parse(filename, content))
}

func judged(c *Config, diags hcl.Diagnostics) (*Config, hcl.Diagnostics) {
	inOrder(diags)
	if diags.HasErrors() {
		return nil, diags
	}
	return c, diags
}

func unreadable(path string, err error) *hcl.Diagnostic {
	return problem(hcl.Range{Filename: path}, "Unreadable configuration",
		fmt.Sprintf("%v; give the right file with --config, or let \"storebeat init\" write one.", err))
}

// readFile reads at most one byte more than is allowed.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a folder", path)
	}
	return io.ReadAll(io.LimitReader(f, MaxFileSize+1))
}

// parse goes on after errors, so that all of them can be reported; only a file
// that is no HCL at all ends it early.
func parse(filename string, content []byte) (*Config, hcl.Diagnostics) {
	c := Default()
	c.Path, c.source = filename, sha256.Sum256(content)
	c.places = places{"": hcl.Range{Filename: filename, Start: hcl.InitialPos, End: hcl.InitialPos}}
	if diags := plain(filename, content); diags.HasErrors() {
		return c, diags
	}
	file, diags := hclsyntax.ParseConfig(content, filename, hcl.InitialPos)
	if diags.HasErrors() {
		return c, diags
	}
	d := decoder{c: c, failed: map[string]bool{}}
	d.file(file.Body)
	c.complete()
	return c, append(d.diags, validate(c, d.failed)...)
}

// decoder fills a Config from a parsed file.
type decoder struct {
	c      *Config
	diags  hcl.Diagnostics
	failed map[string]bool // settings with an error of their own: not judged again
}

func (d *decoder) file(body hcl.Body) {
	top, blocks := topLevel(d.c), sections(d.c)
	schema := schemaOf(top)
	schema.Blocks = []hcl.BlockHeaderSchema{
		{Type: hostBlock, LabelNames: []string{"name"}},
		{Type: datastoreBlock, LabelNames: []string{"name"}},
		{Type: notifyBlock, LabelNames: []string{"name"}},
	}
	for _, s := range blocks {
		schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: s.name})
	}
	content := d.content(body, schema)
	d.settings("", top, content)
	byType := content.Blocks.ByType()
	for _, s := range blocks {
		d.section(s, byType[s.name])
	}
	for i, block := range byType[hostBlock] {
		d.c.Hosts = append(d.c.Hosts, Host{Name: block.Labels[0]})
		d.block(hostPath(i), hostSettings(&d.c.Hosts[i]), block)
	}
	for i, block := range byType[datastoreBlock] {
		d.c.Datastores = append(d.c.Datastores, Datastore{Name: block.Labels[0]})
		d.block(datastorePath(i), datastoreSettings(&d.c.Datastores[i]), block)
	}
	for i, block := range byType[notifyBlock] {
		d.c.Notify = append(d.c.Notify, newNotify(block.Labels[0]))
		d.block(notifyPath(i), notifySettings(&d.c.Notify[i]), block)
	}
}

func (d *decoder) section(s section, blocks []*hcl.Block) {
	for i, block := range blocks {
		if i > 0 {
			d.diags = append(d.diags, problem(block.DefRange, "Duplicate block",
				fmt.Sprintf("Block %s stands at line %d already; put all its settings into one block.", s.name, blocks[0].DefRange.Start.Line)))
		}
		d.block(s.name, s.settings, block)
	}
}

func (d *decoder) block(path string, settings []setting, block *hcl.Block) {
	d.c.places[path] = block.DefRange
	d.settings(path+".", settings, d.content(block.Body, schemaOf(settings)))
}

// content takes a body apart. To an unknown name it adds those that are known,
// unless the library found one that is close.
func (d *decoder) content(body hcl.Body, schema *hcl.BodySchema) *hcl.BodyContent {
	content, diags := body.Content(schema)
	for _, diag := range diags {
		if strings.HasPrefix(diag.Summary, "Unsupported ") && !strings.Contains(diag.Detail, "Did you mean") {
			diag.Detail += " Remove it; known here are " + knownNames(schema) + "."
		}
	}
	d.diags = append(d.diags, diags...)
	return content
}

func knownNames(schema *hcl.BodySchema) string {
	var names []string
	for _, a := range schema.Attributes {
		names = append(names, a.Name)
	}
	for _, b := range schema.Blocks {
		names = append(names, b.Type)
	}
	return strings.Join(names, ", ")
}

func (d *decoder) settings(prefix string, settings []setting, content *hcl.BodyContent) {
	for _, s := range settings {
		attr, ok := content.Attributes[s.name]
		if !ok {
			continue
		}
		path := prefix + s.name
		d.c.places[path] = attr.Range
		if diag := take(s, attr); diag != nil {
			d.failed[path] = true
			d.diags = append(d.diags, diag)
		}
	}
}

// take evaluates one attribute and hands its value to the setting.
func take(s setting, attr *hcl.Attribute) *hcl.Diagnostic {
	v, diags := attr.Expr.Value(nil)
	if word := hcl.ExprAsKeyword(attr.Expr); word != "" && diags.HasErrors() {
		return problem(attr.Range, "Invalid value", fmt.Sprintf("%s = %s lacks quotes: write %q.", s.name, word, word))
	}
	if diags.HasErrors() {
		return diags[0]
	}
	if v.IsNull() {
		return problem(attr.Range, "Invalid value", fmt.Sprintf("%s has no value; remove the line to get the default.", s.name))
	}
	if err := s.set(v); err != nil {
		return problem(attr.Range, "Invalid value", fmt.Sprintf("%s: %v.", s.name, err))
	}
	return nil
}

func schemaOf(settings []setting) *hcl.BodySchema {
	schema := &hcl.BodySchema{}
	for _, s := range settings {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: s.name})
	}
	return schema
}

// plain refuses what a configuration of values does not need: expressions,
// templates and deep nesting. It keeps the recursive parser, which follows,
// from running out of stack on hostile bytes, and says so in plain words.
func plain(filename string, content []byte) hcl.Diagnostics {
	const deepest = 8
	start := hcl.Range{Filename: filename, Start: hcl.InitialPos, End: hcl.InitialPos}
	if len(content) > MaxFileSize {
		return hcl.Diagnostics{problem(start, "File too large", fmt.Sprintf("A configuration has at most %d bytes; is this the right file?", MaxFileSize))}
	}
	tokens, _ := hclsyntax.LexConfig(content, filename, hcl.InitialPos)
	var diags hcl.Diagnostics
	depth, reported, before := 0, 0, hclsyntax.TokenNil
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack:
			if depth++; depth > deepest {
				return append(diags, problem(t.Range, "Nested too deeply", "Nothing in a configuration needs brackets inside brackets this deep; remove them."))
			}
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack:
			depth--
		default:
			odd := !plainToken(t.Type) || t.Type == hclsyntax.TokenMinus && before == hclsyntax.TokenMinus
			if odd && t.Range.Start.Line > reported { // one for each line is enough
				diags, reported = append(diags, notPlain(t)), t.Range.Start.Line
			}
		}
		before = t.Type
	}
	return diags
}

func notPlain(t hclsyntax.Token) *hcl.Diagnostic {
	return problem(t.Range, "Not a plain value",
		fmt.Sprintf("%s has no meaning here: expressions are not evaluated; write texts in quotes, numbers, true or false, or lists of them.", shorten(fmt.Sprintf("%q", t.Bytes))))
}

// plainToken reports whether a token can be part of a plain value, or is an
// error that the parser describes better.
func plainToken(t hclsyntax.TokenType) bool {
	switch t {
	case hclsyntax.TokenEqual, hclsyntax.TokenComma, hclsyntax.TokenMinus,
		hclsyntax.TokenOQuote, hclsyntax.TokenCQuote, hclsyntax.TokenQuotedLit,
		hclsyntax.TokenNumberLit, hclsyntax.TokenIdent, hclsyntax.TokenComment, hclsyntax.TokenNewline, hclsyntax.TokenEOF,
		hclsyntax.TokenInvalid, hclsyntax.TokenBadUTF8, hclsyntax.TokenQuotedNewline, hclsyntax.TokenTabs,
		hclsyntax.TokenApostrophe, hclsyntax.TokenBacktick, hclsyntax.TokenSemicolon:
		return true
	}
	return false
}
