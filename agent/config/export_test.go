package config

// SettingNames lists every setting as block and name.
func SettingNames() [][2]string {
	var names [][2]string
	add := func(block string, settings []setting) {
		for _, s := range settings {
			names = append(names, [2]string{block, s.name})
		}
	}
	c := Default()
	add("", topLevel(c))
	for _, s := range sections(c) {
		add(s.name, s.settings)
	}
	add(hostBlock, hostSettings(&Host{}))
	add(datastoreBlock, datastoreSettings(&Datastore{}))
	add(notifyBlock, notifySettings(&Notify{}))
	return names
}

// SettingDefaults maps block and name to whether the setting is live and its default.
func SettingDefaults() map[[2]string]string {
	c := Default()
	c.complete()
	defaults := map[[2]string]string{}
	for _, s := range sections(c) {
		for _, setting := range s.settings {
			defaults[[2]string{s.name, setting.name}] = setting.String()
		}
	}
	return defaults
}

// SettingIsLive reports whether a setting can change while the agent runs.
func SettingIsLive(block, name string) bool {
	c := Default()
	tables := map[string][]setting{"": topLevel(c), hostBlock: hostSettings(&Host{}), datastoreBlock: datastoreSettings(&Datastore{}), notifyBlock: notifySettings(&Notify{})}
	for _, s := range sections(c) {
		tables[s.name] = s.settings
	}
	for _, s := range tables[block] {
		if s.name == name {
			return s.live
		}
	}
	return false
}
