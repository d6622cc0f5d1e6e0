package main

import (
	"fmt"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"storebeat/agent/config"
)

// configFile is as much of a configuration as `datastore init` needs: it goes
// before a configuration is whole, since the UUIDs of datastores come from it.
type configFile struct {
	path    string
	cluster uuid.UUID
	file    *hclwrite.File
}

func readConfigFile(path string) (*configFile, error) {
	content, err := readSome(path, config.MaxFileSize)
	if err != nil {
		return nil, fail(exitUsage, "reading the configuration: %w; give the right file with --config, or let \"storebeat init\" write one", err)
	}
	file, diags := hclwrite.ParseConfig(content, path, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, badConfig(diags)
	}
	c := &configFile{path: path, file: file}
	block := file.Body().FirstMatchingBlock("cluster", nil)
	if block == nil {
		return nil, fail(exitUsage, "%s has no cluster block: \"storebeat init\" writes a whole file", path)
	}
	if c.cluster, err = uuid.Parse(text(block, "uuid")); err != nil {
		return nil, fail(exitUsage, "%s: the cluster's uuid is not a UUID (%v): \"storebeat init\" writes a whole file", path, err)
	}
	return c, nil
}

// datastore returns the block of that name, or the one with that path.
func (c *configFile) datastore(nameOrPath string) *hclwrite.Block {
	for _, b := range c.file.Body().Blocks() {
		if b.Type() != "datastore" || len(b.Labels()) != 1 {
			continue
		}
		if b.Labels()[0] == nameOrPath || filepath.IsAbs(nameOrPath) && c.pathOf(b) == filepath.Clean(nameOrPath) {
			return b
		}
	}
	return nil
}

func (c *configFile) pathOf(b *hclwrite.Block) string {
	path := text(b, "path")
	if path != "" && !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(absolute(c.path)), path)
	}
	return filepath.Clean(path)
}

// setUUID writes a datastore's UUID into the file, all else left as it is.
func (c *configFile) setUUID(b *hclwrite.Block, id uuid.UUID) error {
	b.Body().SetAttributeValue("uuid", cty.StringVal(id.String()))
	target, err := filepath.EvalSymlinks(c.path)
	if err != nil {
		return fmt.Errorf("writing %s: %w", c.path, err)
	}
	if err := renameio.WriteFile(target, c.file.Bytes(), 0o644, renameio.WithExistingPermissions()); err != nil {
		return fmt.Errorf("writing %s: %w", c.path, err)
	}
	return nil
}

// text returns the value of an attribute that is a plain string, "" for others.
func text(b *hclwrite.Block, name string) string {
	attribute := b.Body().GetAttribute(name)
	if attribute == nil {
		return ""
	}
	e, diags := hclsyntax.ParseExpression(attribute.Expr().BuildTokens(nil).Bytes(), "", hcl.InitialPos)
	if diags.HasErrors() {
		return ""
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return ""
	}
	return v.AsString()
}
