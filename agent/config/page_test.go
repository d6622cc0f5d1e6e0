package config_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"storebeat/agent/config"
)

// The page that users read lists each setting under its block, with the default
// and whether it is live; and it lists nothing else.
func TestThePageIsTrue(t *testing.T) {
	content, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[[2]string][]string{}
	block, heading := "", regexp.MustCompile("^## `([a-z_]+)")
	for line := range strings.Lines(string(content)) {
		if m := heading.FindStringSubmatch(line); m != nil {
			block = m[1]
		}
		if cells := strings.Split(strings.TrimSpace(line), " | "); len(cells) == 4 || len(cells) == 3 && strings.Contains(line, "| | ") {
			cells = strings.SplitN(strings.Trim(strings.TrimSpace(line), "| "), "|", 4)
			rows[[2]string{block, strings.Trim(cells[0], " `")}] = cells
		}
	}
	defaults := config.SettingDefaults()
	for _, name := range config.SettingNames() {
		cells, ok := rows[name]
		if !ok {
			t.Errorf("the page does not list %s of block %q", name[1], name[0])
			continue
		}
		if live := strings.TrimSpace(cells[2]) == "live"; live != config.SettingIsLive(name[0], name[1]) {
			t.Errorf("%s.%s: the page says live %t", name[0], name[1], live)
		}
		shown := strings.TrimSpace(cells[1])
		if want, ok := defaults[name]; ok && strings.HasPrefix(shown, "`") && strings.Contains(shown, "` ") == false && shown != "`"+want+"`" {
			t.Errorf("%s.%s: the page says the default is %s, it is %s", name[0], name[1], shown, want)
		}
		delete(rows, name)
	}
	for name, cells := range rows {
		if strings.HasPrefix(strings.TrimSpace(cells[0]), "`") && name[0] != "timing" {
			t.Errorf("the page lists %s of block %q, which does not exist", name[1], name[0])
		}
	}
}

// The example at the top of the page is all that a cluster needs.
func TestTheExampleOfThePageHolds(t *testing.T) {
	content, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindSubmatch(content)
	if c, diags := config.Parse("/etc/storebeat/storebeat.hcl", example[1]); c == nil || len(diags) > 0 {
		t.Error(config.Describe(diags))
	}
}
