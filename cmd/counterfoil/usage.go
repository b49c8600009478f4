package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// maxOffered bounds how many names a hint lists.
const maxOffered = 20

// maxTyped bounds what is compared with names, in bytes.
const maxTyped = 128

// didYouMean is ": did you mean NAME?" for the one of names that is nearest to
// word, and "" if none is near.
func didYouMean(word string, names []string) string {
	if len(word) > maxTyped {
		return ""
	}
	word = strings.ToLower(word)
	best, nearest := 2, "" // from this distance on, words are too different
	if len(word) > 3 {
		best = max(len(word)/3, 2) + 1
	}
	for _, name := range names {
		if d := levenshtein.ComputeDistance(word, strings.ToLower(name)); d < best {
			best, nearest = d, name
		}
	}
	for _, name := range names { // short words differ quickly, except those of the same letters
		if nearest == "" && len(word) > 2 && letters(word) == letters(name) {
			nearest = name
		}
	}
	for _, name := range names {
		if nearest == "" && len(word) > 1 && strings.HasPrefix(strings.ToLower(name), word) {
			nearest = name
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %s?", oneLine(nearest))
}

// letters are those of a word in alphabetical order.
func letters(word string) string {
	sorted := []rune(strings.ToLower(word))
	slices.Sort(sorted)
	return string(sorted)
}

// chooseFrom is a usage error whose hint lists the choices.
func chooseFrom(names []string, err error) error {
	if len(names) == 0 {
		return &failure{code: exitUsage, err: err, hint: "there are no choices"}
	}
	more := ""
	if len(names) > maxOffered {
		names, more = names[:maxOffered], " and others"
	}
	return &failure{code: exitUsage, err: err, hint: "choose from " + join(names) + more}
}

// oneOf checks the value of a flag that has few values.
func oneOf(flag, value string, names ...string) error {
	for _, name := range names {
		if value == name {
			return nil
		}
	}
	return chooseFrom(names, fmt.Errorf("--%s %q is unknown%s", flag, value, didYouMean(value, names)))
}

// argumentsOf are the names of a command's arguments, as in its usage line:
// NAME, [NAME] for an optional one, NAME... for several.
func argumentsOf(cmd *cobra.Command) []string {
	var names []string
	for _, word := range strings.Fields(cmd.Use)[1:] {
		if strings.HasPrefix(word, "-") {
			return names // flags, which are checked elsewhere
		}
		names = append(names, word)
	}
	return names
}

// strictUsage makes wrong arguments of every command a usage error that names
// the argument and the choices.
func strictUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return misused(cmd, args, err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		strictUsage(sub)
	}
}

// misused says what is wrong with the arguments of a command.
func misused(cmd *cobra.Command, args []string, err error) error {
	names := argumentsOf(cmd)
	switch {
	case cmd.HasAvailableSubCommands() && len(args) > 0:
		var subs []string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				subs = append(subs, sub.Name())
			}
		}
		return usagef("unknown command %q for %q%s", args[0], cmd.CommandPath(), didYouMean(args[0], subs))
	case len(args) > len(names):
		return usagef("%q is one argument too many: '%s' takes %s", args[len(names)], cmd.CommandPath(), orNone(names))
	case len(args) < len(names) && !strings.HasPrefix(names[len(args)], "["):
		missing := fmt.Errorf("'%s' needs %s", cmd.CommandPath(), strings.TrimSuffix(names[len(args)], "..."))
		if cmd.ValidArgsFunction == nil {
			return usagef("%w", missing)
		}
		there, _ := cmd.ValidArgsFunction(cmd, args, "")
		if len(there) == 0 {
			return usagef("%w", missing)
		}
		return chooseFrom(there, missing)
	}
	return usagef("%w", err)
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no arguments"
	}
	return strings.Join(names, " ")
}

// wrongFlag says what is wrong with a flag, as the user typed it.
func wrongFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 1:
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		return usagef("unknown flag --%s%s", unknown.GetSpecifiedName(), didYouMean("--"+unknown.GetSpecifiedName(), names))
	case errors.As(err, &value):
		if kind := kinds[value.GetFlag().Value.Type()]; kind != "" {
			return usagef("--%s %q is not %s", value.GetFlag().Name, value.GetValue(), kind)
		}
		return usagef("--%s %q is not understood: %w", value.GetFlag().Name, value.GetValue(), value.Unwrap())
	}
	return usagef("%w", err)
}

// kinds are the types of flags, in words for people.
var kinds = map[string]string{
	"int": "a whole number", "int64": "a whole number", "bool": "true or false", "duration": "a length of time, such as 90s or 24h",
}
