package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

var measuring = regexp.MustCompile(`msg="metrics and health" address=(127\.0\.0\.1:\d+)`)

// metered returns the URL of the metrics' listener.
func (p *process) metered(t *testing.T) string {
	t.Helper()
	waitFor(t, func() bool { return measuring.MatchString(p.errors()) })
	return "http://" + measuring.FindStringSubmatch(p.errors())[1]
}

// plain reads a page without TLS.
func plain(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// scrape reads the metrics as Prometheus does: the value of each series, and what
// docs/metrics.md says of each metric: its type and its labels.
func scrape(t *testing.T, url string) (series map[string]float64, described map[string]string) {
	t.Helper()
	status, text := plain(t, url+"/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil || status != http.StatusOK {
		t.Fatalf("%d %v: %s", status, err, text)
	}
	series, described = map[string]float64{}, map[string]string{}
	for name, f := range families {
		if !strings.HasPrefix(name, "counterfoil_") {
			continue
		}
		for _, m := range f.GetMetric() {
			var pairs, labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
				pairs = append(pairs, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(labels)
			described[name] = strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, " ")
			key := name + "{" + strings.Join(pairs, ",") + "}"
			series[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return series, described
}

// listedMetrics are the metrics that docs/metrics.md lists, as scrape has them.
func listedMetrics(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(counterfoil_\\w+)` \\| (\\w+) \\|([^|]*)\\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(string(text), -1) {
		labels := regexp.MustCompile(`\w+`).FindAllString(row[3], -1)
		slices.Sort(labels)
		all[row[1]] = row[2] + " " + strings.Join(labels, " ")
	}
	return all
}

// docs/metrics.md lists what 'up' and 'serve' show, with types and labels, and
// nothing else; each request counts once; and nothing of a request is a label.
func TestMetrics(t *testing.T) {
	u := start(t, t.TempDir()+"/data", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	a := u.asker(t, "altrata")
	token := a.token(t.Context())
	a.call(t, token)
	a.call(t, token)
	a.call(t, "stray-token")
	stray := clients.Credentials{ClientID: "stray-client", ClientSecret: "stray-secret"}
	do(t, a.http, tokenRequest(t, u.base+"/a55/oauth2/token", stray))

	config := strings.Replace(exampleConfig(t), "realms:", "metrics: {listen: 127.0.0.1:0}\nrealms:", 1)
	config = strings.Replace(config, "lifetime: 10m", "lifetime: 10m\n    keys: {age: 2160h}", 1)
	s := layOut(t, config).start(t)
	c := s.http(t)
	creds := s.client(t, "acme", "orders:read")
	of := s.token(t, c, acmeToken, creds)
	s.form(t, c, acmeBase+"/introspect", creds, "token", of.Reveal())
	s.form(t, c, acmeBase+"/introspect", stray, "token", of.Reveal())
	s.form(t, c, acmeBase+"/revoke", creds, "token", of.Reveal())
	get(t, c, "https://ops.acme.example/admin/v1/realms")
	before := of
	s.form(t, c, acmeToken, creds, "grant_type", "stray grant")

	var got map[string]float64
	up, serve := u.metered(t), s.metered(t)
	var shown map[string]string
	// What a scrape a moment ago has is answered again.
	eventually.True(t, "every request is counted", func() bool {
		got, shown = scrape(t, serve)
		return got["counterfoil_token_requests_total{method=client_secret_post,outcome=refused,realm=acme,reason=unsupported_grant_type}"] == 1
	})
	own, ownShown := scrape(t, up)
	maps.Copy(got, own)
	maps.Copy(shown, ownShown)
	for series, want := range map[string]float64{
		"counterfoil_token_requests_total{method=client_secret_basic,outcome=issued,realm=altrata,reason=}":           1,
		"counterfoil_token_request_duration_seconds{outcome=issued,realm=altrata}":                                    1,
		"counterfoil_token_requests_total{method=client_secret_post,outcome=refused,realm=a55,reason=unknown_client}": 1,
		"counterfoil_guard_calls_total{outcome=allowed,realm=altrata,reason=}":                                        2,
		"counterfoil_guard_calls_total{outcome=refused,realm=altrata,reason=token_malformed}":                         1,
		"counterfoil_endpoint_requests_total{endpoint=/introspect,outcome=allowed,realm=acme,reason=}":                1,
		"counterfoil_endpoint_requests_total{endpoint=/introspect,outcome=refused,realm=acme,reason=unknown_client}":  1,
		"counterfoil_endpoint_requests_total{endpoint=/revoke,outcome=allowed,realm=acme,reason=}":                    1,
		"counterfoil_admin_calls_total{outcome=refused,realm=ops,reason=token_missing}":                               1,
		"counterfoil_check_ok{check=database}":                                                                        1,
		"counterfoil_check_ok{check=keys}":                                                                            1,
		"counterfoil_check_ok{check=clock}":                                                                           1,
		"counterfoil_check_ok{check=certificate}":                                                                     1,
		"counterfoil_alerts_total{kind=expiry}":                                                                       0,
	} {
		if value, ok := got[series]; !ok || value != want {
			t.Errorf("%s is %v, want %v", series, value, want)
		}
	}
	for _, series := range []string{"counterfoil_store_database_bytes{}", "counterfoil_store_commit_writes{}", "counterfoil_connections_open{}", "counterfoil_audit_records{}"} {
		if got[series] <= 0 {
			t.Errorf("%s is %v", series, got[series])
		}
	}
	if want := listedMetrics(t); !maps.Equal(shown, want) {
		for _, name := range slices.Sorted(maps.Keys(shown)) {
			if shown[name] != want[name] {
				t.Errorf("%s is shown as %q, and listed as %q", name, shown[name], want[name])
			}
		}
		for name := range want {
			if _, ok := shown[name]; !ok {
				t.Errorf("%s is listed and not shown", name)
			}
		}
	}
	for series := range got {
		for _, secret := range []string{"stray", creds.ClientID, before.Reveal(), "127.0.0.1", "Go-http"} {
			if strings.Contains(series, secret) {
				t.Errorf("a request can make the series %s", series)
			}
		}
	}
	if status, body := plain(t, serve+"/healthz/ready"); status != 200 || !strings.Contains(body, `{"check":"clock","status":"good"}`) {
		t.Errorf("ready: %d %s", status, body)
	}
	if got := get(t, c, acmeReady); got.body != "{\"status\":\"good\"}\n" {
		t.Errorf("strangers are told %s", got.body)
	}
	if got := get(t, c, acmeBase+"/metrics"); got.status != http.StatusNotFound {
		t.Errorf("the server's own address shows metrics: %d", got.status)
	}
}

// A hundred who scrape at once are all answered, at the cost of one, and tokens are
// issued meanwhile; nothing of it stays.
func TestMetricsScrapedByAHundred(t *testing.T) {
	u := start(t, t.TempDir()+"/data", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	a := u.asker(t, "a55")
	at := u.metered(t)
	transport := &http.Transport{}
	c := &http.Client{Transport: transport}
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for range 5 {
				resp, err := c.Get(at + "/metrics")
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "counterfoil_build_info{") {
					t.Errorf("answered %s, %v", resp.Status, err)
				}
			}
		})
	}
	for range 20 {
		if a.token(t.Context()) == "" {
			t.Error("no token")
		}
	}
	all.Wait()
	transport.CloseIdleConnections()
	var last map[string]float64
	eventually.True(t, "all tokens are counted", func() bool {
		last, _ = scrape(t, at)
		return last["counterfoil_token_requests_total{method=client_secret_post,outcome=issued,realm=a55,reason=}"]+
			last["counterfoil_token_requests_total{method=client_secret_post,outcome=reused,realm=a55,reason=}"] == 20
	})
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, u.errors())
	}
}

// What is wrong with metrics.listen is said with its place.
func TestServeMetricsSetting(t *testing.T) {
	for _, row := range []struct{ line, says string }{
		{"metrics: {listen: '9090'}", `serve.yaml:11:11: listen: "9090" is not HOST:PORT`},
		{"metrics: {listen: 127.0.0.1:0}", ""},
		{"metrics: {}", `the field "listen" is missing`},
		{"metrics: {listen: '0.0.0.0:443'}", "is where the server itself listens"},
		{"metrics: {listen: '0.0.0.0:9090'}", "everybody who can reach 0.0.0.0:9090 can read the metrics"},
		{"metrics: {listen: '127.0.0.1:0', tls: true}", "tls"},
	} {
		s := layOut(t, strings.Replace(strings.Replace(exampleConfig(t), "127.0.0.1:0", "0.0.0.0:443", 1), "\nrealms:", "\n"+row.line+"\nrealms:", 1))
		got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check")
		if text := fmt.Sprint(got.out, got.err); !strings.Contains(text, row.says) {
			t.Errorf("%s: %s", row.line, text)
		}
	}
}
