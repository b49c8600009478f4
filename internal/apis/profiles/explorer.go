package profiles

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
)

// The assets come from graphiql/update.sh; the page, its style and boot.js are
// written here.
//
//go:embed graphiql/assets
var assets embed.FS

// media are the types of the assets, regardless of the machine's own table.
var media = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".txt":  "text/plain; charset=utf-8",
}

// asset is one file of the explorer. packed is the content of a file that is
// stored with gzip, plain that of any other.
type asset struct {
	media         string
	plain, packed []byte
	tag           string
}

// explorer serves the GraphiQL page.
type explorer struct{ assets map[string]*asset }

// newExplorer reads the embedded assets, which cannot fail in a complete build.
func newExplorer() http.Handler {
	e := &explorer{assets: map[string]*asset{}}
	files, err := fs.Glob(assets, "graphiql/assets/*")
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		stored, err := assets.ReadFile(file)
		if err != nil {
			panic(err)
		}
		name, packed := strings.CutSuffix(path.Base(file), ".gz")
		sum := sha256.Sum256(stored)
		a := &asset{media: media[path.Ext(name)], tag: hex.EncodeToString(sum[:12])}
		if packed {
			a.packed = stored
		} else {
			a.plain = stored
		}
		e.assets[name] = a
	}
	e.assets[""] = e.assets["index.html"]
	return e
}

// policy lets the page load from and call its own origin only. GraphiQL's editor
// and dialogs set their own styles.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP serves the page and its assets: the page also at an empty path,
// which is the mount point without a slash.
func (e *explorer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the explorer is a page: use GET", http.StatusMethodNotAllowed)
		return
	}
	a := e.assets[strings.TrimPrefix(r.URL.Path, "/")]
	if a == nil {
		gqlhttp.NotFound(w, r)
		return
	}
	h.Set("Content-Type", a.media)
	h.Set("Cache-Control", "no-cache")
	content, tag := a.plain, a.tag
	if a.packed != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
			content, tag = a.packed, tag+"-gzip"
		} else if content = a.unpacked(); content == nil {
			http.Error(w, "internal server error", http.StatusInternalServerError)
			return
		}
	}
	if r.URL.Path == "" {
		// From an address without a trailing slash, the assets are one level
		// down.
		address, _, _ := strings.Cut(r.RequestURI, "?")
		down := html.EscapeString(path.Base(address)) + "/"
		page := strings.NewReplacer(`stylesheet" href="`, `stylesheet" href="`+down, `script src="`, `script src="`+down).
			Replace(string(content))
		content, tag = []byte(page), tag+"-down"
	}
	h.Set("ETag", fmt.Sprintf("%q", tag))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

func (a *asset) unpacked() []byte {
	zr, err := gzip.NewReader(bytes.NewReader(a.packed))
	if err != nil {
		return nil
	}
	content, err := io.ReadAll(zr)
	if err != nil {
		return nil
	}
	return content
}

// acceptsGzip reports whether Accept-Encoding names gzip and does not refuse
// it (RFC 9110 section 12.5.3).
func acceptsGzip(r *http.Request) bool {
	for _, field := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(field, ",") {
			coding, weight, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				weight = strings.TrimPrefix(strings.TrimSpace(strings.ToLower(weight)), "q=")
				return strings.Trim(weight, "0.") != "" || weight == ""
			}
		}
	}
	return false
}
