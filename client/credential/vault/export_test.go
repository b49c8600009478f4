package vault

// Parse runs the parsers of answers, for fuzzing.
func Parse(body []byte, path, field string) {
	_, _, _, _ = parseAuth(body)
	_, _, _ = parseLookup(body)
	if p, err := parseMount(body, path); err == nil && (!isPath(p.mount) || !isPath(p.rest)) {
		panic("a place that is no path")
	}
	for version := 1; version <= 2; version++ {
		_, _ = parseField(body, version, field)
	}
}
