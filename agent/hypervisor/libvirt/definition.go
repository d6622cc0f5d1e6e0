package libvirt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"storebeat/agent/hypervisor"
)

// Definition is what the driver keeps of a machine.
type Definition struct {
	XML       string `json:"xml"`                 // of the domain, with {{datastore}}/ for the home datastore's path, {{datastore NAME}}/ for another's
	Transient bool   `json:"transient,omitempty"` // libvirt forgets the domain when it ends
	Autostart bool   `json:"autostart,omitempty"` // libvirt's autostart was on before the machine was protected
}

// encode writes a definition. XML is full of what JSON need not write in other characters.
func (d Definition) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(d)
	return bytes.TrimSpace(b.Bytes()), err
}

// decode reads a definition and judges it for the datastores of this host.
func decode(definition []byte, spec hypervisor.Spec) (Definition, *domain, error) {
	var d Definition
	if err := hypervisor.DecodeDefinition(definition, &d); err != nil {
		return d, nil, err
	}
	if d.XML == "" {
		return d, nil, errors.New("xml is missing; it is the domain's XML, as `virsh dumpxml --inactive` prints it")
	}
	var err error
	if d.XML, err = placed(d.XML, spec); err != nil {
		return d, nil, err
	}
	dom, err := parseDomain(d.XML)
	if err != nil {
		return d, nil, err
	}
	if _, err := dom.id(); err != nil {
		return d, nil, err
	}
	return d, dom, dom.refuse(spec)
}

// refuse says why the domain can't be a machine of such a home.
func (d *domain) refuse(spec hypervisor.Spec) error {
	if all := d.problems(spec); len(all) > 0 {
		return fmt.Errorf("domain %s: %s", d.Name, strings.Join(all, "; "))
	}
	return nil
}
