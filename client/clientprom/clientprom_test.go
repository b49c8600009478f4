package clientprom_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/clientprom"
	"github.com/counterfoil/counterfoil/client/internal/endpoints"
)

// scraped serves m as a program does, and returns what Prometheus would read.
func scraped(t *testing.T, m *clientprom.Metrics) func() string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(m); err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	t.Cleanup(served.Close)
	return func() string {
		t.Helper()
		resp, err := served.Client().Get(served.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v: %s", resp.Status, err, text)
		}
		return string(text)
	}
}

// series are the lines of a scrape that begin with name.
func series(text, name string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name) {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

func TestScrape(t *testing.T) {
	e := endpoints.New(t)
	m := clientprom.New()
	scrape := scraped(t, m)
	c := e.Config()
	c.OnEvent = m.OnEvent
	c.Retries = []time.Duration{time.Nanosecond}
	s := e.Source(t, c)

	e.Answer(nil, func(w http.ResponseWriter, _ *http.Request, n int) {
		w.WriteHeader([]int{200, 503, 200, 401, 200}[n-1])
	})
	for range 3 { // as it should be; retried; with another token
		resp, err := s.Client().Get(c.APIURL)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
		resp.Body.Close()
	}
	began := time.Now()
	refused := c
	refused.ClientID = "wrong \"one\"\n"
	e.Answer(endpoints.Refuse(401, `{"error":"invalid_client","error_description":"`+endpoints.Secret+`"}`), nil)
	if _, err := e.Source(t, refused).Token(t.Context()); err == nil {
		t.Fatal("no refusal")
	}
	away := c
	away.ClientID, away.TokenURL, away.Timeout = "away", "https://127.0.0.1:1/token", time.Millisecond
	if _, err := e.Source(t, away).Token(t.Context()); err == nil {
		t.Fatal("a token from nowhere")
	}

	text := scrape()
	want := []string{
		`{client_id="away",provider="oauth2",reason="unavailable",status="",type="token.failed"} 1`,
		`{client_id="away",provider="oauth2",reason="unavailable",status="",type="token.requested"} 1`,
		`{client_id="the-client",provider="oauth2",reason="",status="",type="token.dropped"} 1`,
		`{client_id="the-client",provider="oauth2",reason="",status="2xx",type="token.obtained"} 2`,
		`{client_id="the-client",provider="oauth2",reason="",status="2xx",type="token.requested"} 2`,
		`{client_id="the-client",provider="oauth2",reason="token_invalid",status="4xx",type="call.retried"} 1`,
		`{client_id="the-client",provider="oauth2",reason="unavailable",status="5xx",type="call.retried"} 1`,
		`{client_id="wrong \"one\"\n",provider="oauth2",reason="invalid_client",status="4xx",type="token.refused"} 1`,
		`{client_id="wrong \"one\"\n",provider="oauth2",reason="invalid_client",status="4xx",type="token.requested"} 1`,
	}
	for i := range want {
		want[i] = "counterfoil_client_events_total" + want[i]
	}
	want[2] = strings.Replace(want[2], `reason=""`, `reason="token_invalid"`, 1)
	slices.Sort(want)
	got := series(text, "counterfoil_client_events_total{")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, line := range []string{
		`counterfoil_client_token_request_duration_seconds_count{client_id="the-client",provider="oauth2",status="2xx"} 2`,
		`counterfoil_client_token_request_duration_seconds_bucket{client_id="the-client",provider="oauth2",status="2xx",le="30"} 2`,
		`counterfoil_client_token_request_duration_seconds_count{client_id="away",provider="oauth2",status=""} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the scrape lacks %s", line)
		}
	}
	last := series(text, "counterfoil_client_last_token_timestamp_seconds{")
	var at float64
	if len(last) != 1 {
		t.Fatalf("%q: want that of one client", last)
	}
	if _, err := fmt.Sscan(last[0][strings.LastIndex(last[0], " "):], &at); err != nil || at > float64(began.UnixMilli())/1000 || at < float64(began.Unix()-60) {
		t.Errorf("the last token is of %s, about %d was expected", last[0], began.Unix())
	}
	for _, secret := range []string{endpoints.Secret, endpoints.TokenPrefix} {
		if strings.Contains(text, secret) {
			t.Errorf("the scrape shows %s", secret)
		}
	}
}

func TestNamesAreOfPrometheus(t *testing.T) {
	m := clientprom.New()
	text := scraped(t, m)
	m.OnEvent(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenRequested, Realm: "acme", ClientID: "c", Duration: time.Second})
	m.OnEvent(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenRenewed, Time: time.Unix(1, 0), Realm: "acme", ClientID: "c"})
	problems, err := promlint.New(strings.NewReader(text())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if n := len(regexp.MustCompile(`(?m)^# HELP counterfoil_client_\w+ \S`).FindAllString(text(), -1)); n != 3 {
		t.Errorf("%d metrics have a HELP, want 3", n)
	}
}

// Whatever a stranger or a mistake puts into events, the series are few.
func TestSeriesAreBounded(t *testing.T) {
	m := clientprom.New()
	scrape := scraped(t, m)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 3000 {
				m.OnEvent(context.Background(), counterfoil.Event{
					Type: fmt.Sprint("type ", i), Realm: "acme\xff", ClientID: fmt.Sprint("client ", worker, i), Reason: counterfoil.Reason(fmt.Sprint("reason ", i)), Status: i,
				})
			}
		})
	}
	all.Wait()
	got := series(scrape(), "counterfoil_client_events_total{")
	if n := len(got); n < 1000 || n > 1007 { // each of a thousand with one status class, others with seven
		t.Errorf("%d series", n)
	}
	for _, line := range got {
		if !strings.Contains(line, `type="other"`) || !strings.Contains(line, `reason="other"`) {
			t.Fatalf("%s: type and reason are not among the known", line)
		}
	}
}
