package serveconfig

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/files"
)

func to(keys ...any) []any { return keys }

// fail records a problem, and names the key if the message does not.
func (pl *planner) fail(way []any, format string, args ...any) {
	says, key := fmt.Sprintf(format, args...), ""
	for _, step := range way {
		if name, ok := step.(string); ok {
			key = name
		}
	}
	if !strings.Contains(says, key) {
		says = key + ": " + says
	}
	pl.Fail(way, nil, "%s", says)
}

// Fail records a mistake. If the form is wrong, a missing value may already have
// been reported.
func (pl *planner) Fail(way []any, allowed []string, format string, args ...any) {
	if !pl.malformed || pl.Has(way) {
		pl.Document.Fail(way, allowed, format, args...)
	}
}

func (pl *planner) warn(format string, args ...any) {
	pl.out.Warnings = append(pl.out.Warnings, fmt.Sprintf(format, args...))
}

// under returns the path to what is below a value.
func under(way []any, keys ...any) []any { return append(slices.Clip(slices.Clone(way)), keys...) }

// within returns path, relative to dir unless it is absolute.
func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// maxFile bounds a file with keys or certificates, in bytes.
const maxFile = 1 << 20

// readFile reads a file of keys or certificates.
func readFile(name string) ([]byte, error) { return files.Read(name, maxFile) }
