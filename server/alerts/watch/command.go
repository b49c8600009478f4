package watch

import (
	"strings"

	"github.com/counterfoil/counterfoil/server/alerts"
)

// command returns the command line of a subcommand: what a caller can choose in it
// is quoted, and no word of it is taken for a flag.
func (w *Watch) command(subcommand string, args ...string) string {
	words := []string{"counterfoil", subcommand}
	for _, arg := range args {
		words = append(words, Quote(arg))
	}
	if w.Where != "" {
		words = append(words, w.Where)
	}
	return strings.Join(words, " ")
}

// commandOn is command for arguments that are no flags, such as client IDs; flags may
// stand before them.
func (w *Watch) commandOn(subcommand string, args ...string) string {
	words := []string{"counterfoil", subcommand}
	if w.Where != "" {
		words = append(words, w.Where)
	}
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			words = append(words, "--")
			break
		}
	}
	for _, arg := range args {
		words = append(words, Quote(arg))
	}
	return strings.Join(words, " ")
}

// Quote returns a word of a POSIX shell that stands for word.
func Quote(word string) string {
	plain := word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r))
	})
	if plain {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// audit is the command that shows the records that an alert is about.
func (w *Watch) audit(realm, client string, more ...string) string {
	var flags []string
	if realm != "" {
		flags = append(flags, "--realm="+realm)
	}
	if client != "" {
		flags = append(flags, "--client="+client)
	}
	return w.command("audit", append(flags, more...)...)
}

// troubleCommand is the command for an alert of a process's own log.
func (w *Watch) troubleCommand(a *alerts.Alert) string {
	switch {
	case a.Kind == alerts.KindKeys && a.Realm != "":
		return w.commandOn("key list", a.Realm)
	case a.Kind == alerts.KindCheckpoint:
		return w.command("audit verify")
	}
	return w.command("audit", "--since=1h")
}
