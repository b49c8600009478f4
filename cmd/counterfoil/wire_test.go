package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// wire is a client of a provider by net/http alone, which knows what the
// provider's guide says and nothing of Counterfoil.
type wire struct {
	*asker
	t       *testing.T
	held    string // the token
	renewed int
}

// guided returns a client that speaks the given version of HTTP and follows no
// redirect.
func guided(t *testing.T, provider string, version int) *wire {
	t.Helper()
	a := shared.asker(t, provider)
	a.http.Transport.(*http.Transport).ForceAttemptHTTP2 = version == 2
	a.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &wire{asker: a, t: t}
}

// renew fetches a token as the guide shows it.
func (w *wire) renew() {
	w.t.Helper()
	target, form := w.env.Get("AUTH_URL"), url.Values{}
	id, secret := w.env.Get("API_CLIENT_ID"), w.env.Get("API_CLIENT_SECRET")
	if w.provider == "altrata" {
		target += "?grant_type=client_credentials"
	} else {
		form = url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	}
	if scope := w.env.Get("API_SCOPE"); w.provider == "ahotu" || w.provider == "engagifii" {
		form.Set("scope", scope)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if w.provider == "altrata" {
		req.SetBasicAuth(id, secret)
		req.Header.Set("x-api-key", w.env.Get("API_KEY"))
	}
	status, body, _ := w.send(req)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); status != http.StatusOK || err != nil {
		w.t.Fatalf("the token endpoint answers %d %s", status, body)
	}
	w.held = answer.AccessToken
	w.renewed++
}

func (w *wire) send(req *http.Request) (status int, body string, header http.Header) {
	w.t.Helper()
	resp, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// request is a call with the headers that the guide asks for, and a Content-Type
// where there is a body and the guide asks for one.
func (w *wire) request(method, target, body string) *http.Request {
	w.t.Helper()
	var content io.Reader // nil, as a GET has it
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(w.t.Context()), method, target, content)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.held != "" {
		req.Header.Set("Authorization", "Bearer "+w.held)
	}
	switch w.provider {
	case "altrata":
		req.Header.Set("x-api-key", w.env.Get("API_KEY"))
	case "engagifii":
		req.Header.Set("api-version", "1.0")
		req.Header.Set("tenant-code", w.env.Get("TENANT_CODE"))
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
	}
	return req
}

// call sends a request, once more with a new token after 401.
func (w *wire) call(method, path, body string) (status int, answer string) {
	w.t.Helper()
	target := w.env.Get("API_BASE_URL") + path
	status, answer, _ = w.send(w.request(method, target, body))
	if status == http.StatusUnauthorized {
		w.renew()
		status, answer, _ = w.send(w.request(method, target, body))
	}
	return status, answer
}

// Code that is written in Go from the guides, with net/http alone, works as it
// stands: token, list, one of the list, a stale token and the retry. It sets no
// Content-Type that the guide does not ask for, and none without a body.
func TestGuidesInGo(t *testing.T) {
	for _, row := range []struct {
		provider, method, list, listBody string
		one                              func(id string) (path, body string)
	}{
		{"ahotu", "POST", "", `{"query":"{ events(page: 0, size: 1) { data { id } } }"}`,
			func(id string) (string, string) {
				return "", `{"query":"query ($id: ID!) { event(id: $id) { id } }","variables":{"id":"` + id + `"}}`
			}},
		{"altrata", "POST", "", `{"query":"{ people(page: 0, size: 1) { data { id } } }"}`,
			func(id string) (string, string) {
				return "", `{"query":"query ($id: ID!) { person(id: $id) { id } }","variables":{"id":"` + id + `"}}`
			}},
		{"engagifii", "GET", "/api/1.0/event/list", `{"pageNumber":1,"pageSize":1,"onlyUpcoming":true}`,
			func(id string) (string, string) { return "/api/1.0/event/" + id, "" }},
		{"a55", "GET", "/wallets?size=1", "", func(id string) (string, string) { return "/wallets/" + id, "" }},
	} {
		for _, version := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s by HTTP/%d", row.provider, version), func(t *testing.T) {
				w := guided(t, row.provider, version)
				w.renew()
				method := row.method
				if row.listBody != "" {
					method = http.MethodPost
				}
				status, answer := w.call(method, row.list, row.listBody)
				_, rest, _ := strings.Cut(answer, `"id":"`)
				id, _, found := strings.Cut(rest, `"`)
				if status != http.StatusOK || !found {
					t.Fatalf("the list is %d %s", status, answer)
				}
				path, body := row.one(id)
				for _, token := range []string{w.held, "stale"} {
					w.held = token
					if status, answer := w.call(row.method, path, body); status != http.StatusOK || !strings.Contains(answer, id) {
						t.Errorf("one is %d %s", status, answer)
					}
				}
				if w.renewed != 2 {
					t.Errorf("%d tokens were fetched", w.renewed)
				}
			})
		}
	}
}

// engagifii's media type is asked for where there is a body, and is welcome where
// there is none.
func TestMediaTypeGoesWithABody(t *testing.T) {
	w := guided(t, "engagifii", 2)
	w.renew()
	_, list := w.call("POST", "/api/1.0/event/list", `{"PageSize":1}`)
	_, rest, _ := strings.Cut(list, `"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	base := w.env.Get("API_BASE_URL") + "/api/1.0/event/"
	for _, row := range []struct {
		name, method, target, body, mediaType string
		status                                int
	}{
		{"GET without", "GET", base + id, "", "", 200},
		{"GET with", "GET", base + id, "", "application/json", 200},
		{"GET with a charset", "GET", base + id, "", "application/json; charset=utf-8", 200},
		{"HEAD without", "HEAD", base + id, "", "", 200},
		{"POST without", "POST", base + "list", "{}", "", 400},
		{"POST with another", "POST", base + "list", "{}", "text/plain", 400},
		{"POST with", "POST", base + "list", "{}", "application/json;charset=utf8", 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			req := w.request(row.method, row.target, row.body)
			req.Header.Del("Content-Type")
			if row.mediaType != "" {
				req.Header.Set("Content-Type", row.mediaType)
			}
			if status, body, _ := w.send(req); status != row.status {
				t.Errorf("%d %s, want %d", status, body, row.status)
			}
		})
	}
}

// Below an API, the API answers: 401 without a token, and with one a 404 in its
// own shape for what it has not. A slash at the end makes no difference, a path with
// a second spelling is refused with 400, and nothing is redirected. What was meant for an endpoint of the realm is not found
// and says so.
func TestPathsOfUp(t *testing.T) {
	const query, graphQL404, rest404 = `{"query":"{ __typename }"}`, `{"errors":[{"message":"nothing here`, `{"error":{"code":"NOT_FOUND"`
	for _, row := range []struct {
		provider, path, body string
		stranger, status     int // without a token, and with one
		says                 string
	}{
		{"ahotu", "/graphql", query, 401, 200, `"__typename"`},
		{"ahotu", "/graphql/", query, 401, 200, `"__typename"`},
		{"ahotu", "/graphql/x", query, 401, 404, graphQL404},
		{"ahotu", "/graphql//", query, 400, 400, `"code":"BAD_REQUEST"`},
		{"altrata", "/v1/graphql/", query, 401, 200, `"__typename"`},
		{"altrata", "/v1/graphql/x", "", 401, 404, graphQL404},
		{"altrata", "/v1/graphiql", query, 401, 200, `"__typename"`},
		{"altrata", "/v1/graphiql/", query, 401, 200, `"__typename"`},
		{"altrata", "/v1/graphiql/x", query, 401, 404, graphQL404},
		{"altrata", "/v1/graphiql/x.js", "", 404, 404, graphQL404},
		{"altrata", "/v1/graphiql", "", 200, 200, "<!doctype html>"},
		{"altrata", "/v1/graphiql/", "", 200, 200, "<!doctype html>"},
		{"engagifii", "/api/1.0/event/list", "{}", 401, 200, `"totalCount"`},
		{"engagifii", "/api/1.0/event/list/", "{}", 401, 200, `"totalCount"`},
		{"engagifii", "/api/1.0/event/list//", "{}", 400, 400, `"code":"INVALID_REQUEST"`},
		{"engagifii", "/api/1.0/event/../event/list", "{}", 400, 400, `"code":"INVALID_REQUEST"`},
		{"engagifii", "/api/1.0/events", "", 401, 404, rest404},
		{"engagifii", "/api/%31.0/events", "", 400, 400, `"code":"INVALID_REQUEST"`},
		{"engagifii", "/api/1.0", "", 401, 404, rest404},
		{"engagifii", "/api/2.0/event/list", "{}", 401, 404, rest404},
		{"engagifii", "/event/list", "{}", 401, 404, rest404},
		{"engagifii", "", "", 401, 404, rest404},
		{"engagifii", "/", "", 401, 404, rest404},
		{"engagifii", "/.well-known/x", "", 404, 404, "404 page not found"},
		{"engagifii", "/.well-known/jwks.json", "", 200, 200, `"keys"`},
		{"engagifii", "/connect/token/", "x=y", 404, 404, "/engagifii/connect/token is meant"},
		{"engagifii", "//connect/token", "x=y", 404, 404, "/engagifii/connect/token is meant"},
		{"a55", "/api/v1", "", 401, 200, `"resources"`},
		{"a55", "/api/v1/", "", 401, 200, `"resources"`},
		{"a55", "/api/v1/wallets/", "", 401, 200, `"totalCount"`},
		{"a55", "/api/v1/wallets//", "", 400, 400, `"code":"BAD_REQUEST"`},
		{"a55", "/api/v1/accounts", "", 401, 404, rest404},
		{"a55", "", "", 404, 404, "404 page not found"},
		{"a55", "/oauth2/token/", "x=y", 404, 404, `{"error":"invalid_request","error_description":"there is nothing at this URL: https://`},
		{"a55", "/.well-known/jwks.json/", "", 404, 404, "/a55/.well-known/jwks.json is meant"},
		{"altrata", "/oauth2/token/", "x=y", 404, 404, "/altrata/oauth2/token is meant"},
	} {
		method := http.MethodGet
		if row.body != "" {
			method = http.MethodPost
		}
		t.Run(row.provider+" "+method+" "+row.path, func(t *testing.T) {
			w := guided(t, row.provider, 2)
			target := shared.base + "/" + row.provider + row.path
			for _, want := range []int{row.stranger, row.status} {
				status, body, header := w.send(w.request(method, target, row.body))
				if status != want || header.Get("Location") != "" || want == row.status && !strings.Contains(body, row.says) {
					t.Errorf("%d %.300s %v\nwant %d, and %s in the end", status, body, header, want, row.says)
				}
				w.renew()
			}
			if row.stranger != 401 || row.status != 404 {
				return
			}
			// What else the API asks for does not matter where it has nothing.
			req := w.request(method, target, row.body)
			for _, name := range []string{"api-version", "tenant-code", "Content-Type"} {
				req.Header.Del(name)
			}
			if status, body, _ := w.send(req); status != 404 || !strings.Contains(body, row.says) {
				t.Errorf("without the other headers: %d %.300s", status, body)
			}
			req = w.request(method, target, row.body)
			req.Header.Set("tenant-code", "TENANT-OF-OTHERS")
			req.Header.Set("Content-Type", "text/plain")
			if status, body, _ := w.send(req); status != 404 || !strings.Contains(body, row.says) {
				t.Errorf("with other values of the other headers: %d %.300s", status, body)
			}
		})
	}
}

// Token requests that look odd and are right, as clients of many kinds send them.
func TestOddTokenRequests(t *testing.T) {
	const typed = `-H "Content-Type: application/x-www-form-urlencoded; charset=%s" `
	rows := map[string][]string{
		"ahotu": {form + ` -d "scope=$API_SCOPE"`}, "a55": {form}, "engagifii": {form + ` -d scope=EventsApi`},
		"altrata": {`-u "$API_CLIENT_ID:$API_CLIENT_SECRET" -H "x-api-key: $API_KEY" -d grant_type=client_credentials`},
	}
	for provider, row := range rows {
		good := row[0]
		for _, charset := range []string{"ISO-8859-1", "US-ASCII", "utf8", "windows-1252", "UTF-16"} {
			rows[provider] = append(rows[provider], fmt.Sprintf(typed, charset)+good)
		}
		if provider != "altrata" { // its guide knows Basic only
			rows[provider] = append(rows[provider], good+` -H 'Authorization: Bearer stale'`, good+` -H 'Authorization: stale'`)
		}
	}
	for _, scope := range []string{"EventsApi ", " EventsApi", "  EventsApi  EventsApi "} {
		rows["engagifii"] = append(rows["engagifii"], form+` --data-urlencode "scope=`+scope+`"`)
	}
	for provider, all := range rows {
		for _, args := range all {
			if provider == "altrata" {
				args = `-X POST --url-query grant_type=client_credentials ` + args
			}
			t.Run(provider+" "+strings.ReplaceAll(args, "/", "_"), func(t *testing.T) {
				if got := shared.sourced(t, provider, `curl -s "$AUTH_URL" `+args); !strings.Contains(got.out, `"access_token":"ey`) {
					t.Errorf("answered %s", got.out)
				}
			})
		}
	}
}

// Debian 12's curl drops an HTTP/2 answer that comes while it sends. No answer
// does, whatever its status.
func TestCurlGetsEarlyAnswers(t *testing.T) {
	const rounds = 10
	for _, version := range []string{"--http1.1", "--http2"} {
		for name, target := range map[string]string{
			"401": "$API_BASE_URL/api/1.0/event/list", "404": "$AUTH_URL/", "415 or 400": "$AUTH_URL",
		} {
			t.Run(name+" "+version, func(t *testing.T) {
				script := fmt.Sprintf(`big=$(mktemp); head -c 300000 /dev/zero >"$big"; trap 'rm -f "$big"' EXIT
i=0; while [ $i -lt %d ]; do curl -s -o /dev/null %s -H 'Expect:' -H 'Content-Type: application/json' --data-binary @"$big" "%s" || echo "failed with $?"; i=$((i+1)); done`, rounds, version, target)
				if got := shared.sourced(t, "engagifii", script); got.out != "" {
					t.Errorf("of %d answers, curl lost some:\n%s", rounds, got.out)
				}
			})
		}
	}
}
