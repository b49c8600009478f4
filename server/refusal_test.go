package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// shape is an answer to the byte; headers are those beside the realm's usual.
type shape struct {
	status  int
	body    string
	headers map[string]string
}

func bare(code string) shape { return shape{status: 400, body: `{"error":"` + code + `"}`} }

// dialects are the refusals of each realm, as the catalog promises them.
var dialects = map[string]map[counterfoil.Reason]shape{
	"ahotu": cognito, "a55": cognito, "cognito": cognito,
	"identityserver": identity(bare("invalid_client"), bare("invalid_scope"), bare("invalid_request")),
	"engagifii": identity(
		shape{status: 400, body: `{"error":"invalid_client","error_description":"Client authentication failed"}`},
		shape{status: 400, body: `{"error":"invalid_scope","error_description":"The requested scope is invalid, unknown, or malformed"}`},
		shape{status: 400, body: `{"error":"invalid_scope","error_description":"The requested scope is invalid, unknown, or malformed"}`},
	),
	"altrata": {
		counterfoil.ReasonInvalidRequest:       bare("invalid_request"),
		counterfoil.ReasonMethodNotAllowed:     {405, `{"error":"invalid_request"}`, map[string]string{"Allow": "POST"}},
		counterfoil.ReasonUnsupportedMediaType: {415, `{"error":"invalid_request"}`, nil},
		counterfoil.ReasonRequestTooLarge:      {413, `{"error":"invalid_request"}`, nil},
		counterfoil.ReasonAPIKeyInvalid:        {403, `{"message":"Forbidden"}`, nil},
		counterfoil.ReasonInvalidClient:        {401, `{"error":"invalid_client"}`, map[string]string{"Www-Authenticate": `Basic realm="altrata"`}},
		counterfoil.ReasonUnsupportedGrantType: bare("unsupported_grant_type"),
		counterfoil.ReasonInvalidScope:         bare("invalid_scope"),
	},
	"oauth2": {
		counterfoil.ReasonInvalidRequest:       bare("invalid_request"),
		counterfoil.ReasonMethodNotAllowed:     {405, `{"error":"invalid_request","error_description":"The token endpoint answers POST only"}`, map[string]string{"Allow": "POST"}},
		counterfoil.ReasonUnsupportedMediaType: {415, `{"error":"invalid_request","error_description":"The request must be application/x-www-form-urlencoded"}`, nil},
		counterfoil.ReasonRequestTooLarge:      {413, `{"error":"invalid_request","error_description":"The request is too large"}`, nil},
		counterfoil.ReasonRepeatedParameter:    {400, `{"error":"invalid_request","error_description":"A parameter is repeated"}`, nil},
		counterfoil.ReasonMisplacedParameter:   {400, `{"error":"invalid_request","error_description":"Parameters must be sent in the request body"}`, nil},
		counterfoil.ReasonGrantTypeMissing:     {400, `{"error":"invalid_request","error_description":"grant_type is missing"}`, nil},
		counterfoil.ReasonMultipleCredentials:  {400, `{"error":"invalid_request","error_description":"Use one client authentication method"}`, nil},
		counterfoil.ReasonInvalidClient:        {401, `{"error":"invalid_client"}`, map[string]string{"Www-Authenticate": `Basic realm="token"`}},
		counterfoil.ReasonUnsupportedGrantType: bare("unsupported_grant_type"),
		counterfoil.ReasonInvalidScope:         bare("invalid_scope"),
	},
}

var cognito = map[counterfoil.Reason]shape{
	counterfoil.ReasonInvalidRequest:       bare("invalid_request"),
	counterfoil.ReasonMethodNotAllowed:     {405, `{"error":"invalid_request"}`, map[string]string{"Allow": "POST"}},
	counterfoil.ReasonInvalidClient:        bare("invalid_client"),
	counterfoil.ReasonUnsupportedGrantType: bare("unsupported_grant_type"),
	counterfoil.ReasonInvalidScope:         bare("invalid_scope"),
}

func identity(client, scope, scopeMissing shape) map[counterfoil.Reason]shape {
	return map[counterfoil.Reason]shape{
		counterfoil.ReasonInvalidRequest:       bare("invalid_request"),
		counterfoil.ReasonGrantTypeMissing:     bare("unsupported_grant_type"),
		counterfoil.ReasonInvalidClient:        client,
		counterfoil.ReasonUnsupportedGrantType: bare("unsupported_grant_type"),
		counterfoil.ReasonInvalidScope:         scope,
		counterfoil.ReasonScopeMissing:         scopeMissing,
	}
}

// bad is a list of bad requests, each made from a good one with the credentials
// in the body (or in the header, where the realm wants them there).
var bad = map[string]struct {
	change func(*ask)
	reason counterfoil.Reason
}{
	"GET":                       {func(a *ask) { a.method = http.MethodGet }, counterfoil.ReasonMethodNotAllowed},
	"HEAD":                      {func(a *ask) { a.method = http.MethodHead }, counterfoil.ReasonMethodNotAllowed},
	"PUT":                       {func(a *ask) { a.method = http.MethodPut }, counterfoil.ReasonMethodNotAllowed},
	"OPTIONS":                   {func(a *ask) { a.method = http.MethodOptions }, counterfoil.ReasonMethodNotAllowed},
	"JSON":                      {func(a *ask) { a.mediaType = "application/json" }, counterfoil.ReasonUnsupportedMediaType},
	"multipart":                 {func(a *ask) { a.mediaType = "multipart/form-data; boundary=x" }, counterfoil.ReasonUnsupportedMediaType},
	"no media type but charset": {func(a *ask) { a.mediaType = "; charset=utf-8" }, counterfoil.ReasonUnsupportedMediaType},
	"the first character beyond ASCII in another charset": {func(a *ask) {
		a.mediaType += "; charset=iso-8859-1"
		a.body = a.form.Encode() + "&x=\u0080"
	}, counterfoil.ReasonUnsupportedMediaType},
	"form in another charset": {func(a *ask) {
		a.mediaType += "; charset=iso-8859-1"
		a.body = a.form.Encode() + "&x=\u00e9"
	}, counterfoil.ReasonUnsupportedMediaType},
	"two media types":           {func(a *ask) { a.header["Content-Type"] = []string{a.mediaType, a.mediaType}; a.mediaType = "" }, counterfoil.ReasonUnsupportedMediaType},
	"compressed":                {func(a *ask) { a.header.Set("Content-Encoding", "gzip") }, counterfoil.ReasonUnsupportedMediaType},
	"20 KB":                     {func(a *ask) { a.body = a.form.Encode() + "&x=" + strings.Repeat("x", 20<<10) }, counterfoil.ReasonRequestTooLarge},
	"10 MB":                     {func(a *ask) { a.body = a.form.Encode() + "&x=" + strings.Repeat("x", 10<<20) }, counterfoil.ReasonRequestTooLarge},
	"percent-encoding":          {func(a *ask) { a.body = a.form.Encode() + "&x=%zz" }, counterfoil.ReasonMalformedRequest},
	"percent at the end":        {func(a *ask) { a.body = a.form.Encode() + "&x=%4" }, counterfoil.ReasonMalformedRequest},
	"NUL":                       {func(a *ask) { a.body = a.form.Encode() + "&x=%00" }, counterfoil.ReasonMalformedRequest},
	"not UTF-8":                 {func(a *ask) { a.body = a.form.Encode() + "&x=%ff" }, counterfoil.ReasonMalformedRequest},
	"too many parameters":       {func(a *ask) { a.body = a.form.Encode() + many(40) }, counterfoil.ReasonMalformedRequest},
	"repeated scope":            {func(a *ask) { a.body = a.form.Encode() + "&scope=a&scope=b" }, counterfoil.ReasonRepeatedParameter},
	"repeated by encoding":      {func(a *ask) { a.body = a.form.Encode() + "&x=1&%78=2" }, counterfoil.ReasonRepeatedParameter},
	"repeated and empty":        {func(a *ask) { a.body = a.form.Encode() + "&x&x" }, counterfoil.ReasonRepeatedParameter},
	"client in the query":       {func(a *ask) { a.query += "&client_id=good&client_secret=in-the-query" }, counterfoil.ReasonMisplacedParameter},
	"id in the query":           {func(a *ask) { a.query += "&client_id=good" }, counterfoil.ReasonMisplacedParameter},
	"secret in the query":       {func(a *ask) { a.query += "&%63lient_secret=in-the-query" }, counterfoil.ReasonMisplacedParameter},
	"scope in the query":        {func(a *ask) { a.query += "&scope=" }, counterfoil.ReasonMisplacedParameter},
	"assertion in the query":    {func(a *ask) { a.query += "&client_assertion=x.y.z" }, counterfoil.ReasonMisplacedParameter},
	"its type in the query":     {func(a *ask) { a.query += "&client_assertion_type=x" }, counterfoil.ReasonMisplacedParameter},
	"repeated in the query":     {func(a *ask) { a.query += "&x=1&x=2" }, counterfoil.ReasonRepeatedParameter},
	"broken query":              {func(a *ask) { a.query = "%zz" }, counterfoil.ReasonMalformedRequest},
	"unknown grant type":        {func(a *ask) { a.setGrantType("password") }, counterfoil.ReasonUnsupportedGrantType},
	"grant type in capitals":    {func(a *ask) { a.setGrantType("Client_Credentials") }, counterfoil.ReasonUnsupportedGrantType},
	"no grant type":             {func(a *ask) { a.setGrantType("") }, counterfoil.ReasonGrantTypeMissing},
	"scope not allowed":         {func(a *ask) { a.form = with(a.form, "scope", "EventsApi events:read admin") }, counterfoil.ReasonScopeNotAllowed},
	"scope malformed":           {func(a *ask) { a.form = with(a.form, "scope", `EventsApi "x"`) }, counterfoil.ReasonScopeMalformed},
	"scope with a tab":          {func(a *ask) { a.form = with(a.form, "scope", "EventsApi\tx") }, counterfoil.ReasonScopeMalformed},
	"scope too long":            {func(a *ask) { a.form = with(a.form, "scope", strings.Repeat("x", 1025)) }, counterfoil.ReasonScopeMalformed},
	"no credentials":            {func(a *ask) { a.credentials("", "") }, counterfoil.ReasonCredentialsMissing},
	"no secret":                 {func(a *ask) { a.credentials("", ""); a.form = with(a.form, "client_id", "good") }, counterfoil.ReasonCredentialsMissing},
	"unknown client":            {func(a *ask) { a.credentials("nobody", "guess-of-a-secret") }, counterfoil.ReasonUnknownClient},
	"wrong secret":              {func(a *ask) { a.credentials("good", "guess-of-a-secret") }, counterfoil.ReasonWrongSecret},
	"client of another case":    {func(a *ask) { a.credentials("GOOD", "guess-of-a-secret") }, counterfoil.ReasonUnknownClient},
	"secret with colons":        {func(a *ask) { a.credentials("good", ":a:b::c:") }, counterfoil.ReasonWrongSecret},
	"non-ASCII credentials":     {func(a *ask) { a.credentials("gööd", "geheimnis-für-alle") }, counterfoil.ReasonUnknownClient},
	"long id":                   {func(a *ask) { a.credentials(strings.Repeat("i", 257), "guess-of-a-secret") }, counterfoil.ReasonCredentialsMalformed},
	"long secret":               {func(a *ask) { a.credentials("good", strings.Repeat("s", 257)) }, counterfoil.ReasonCredentialsMalformed},
	"control characters":        {func(a *ask) { a.credentials("good\x1b[31m", "guess-of-a-secret") }, counterfoil.ReasonCredentialsMalformed},
	"delete":                    {func(a *ask) { a.credentials("good\x7f", "guess-of-a-secret") }, counterfoil.ReasonCredentialsMalformed},
	"the last control":          {func(a *ask) { a.credentials("good\u009f", "guess-of-a-secret") }, counterfoil.ReasonCredentialsMalformed},
	"no-break space":            {func(a *ask) { a.credentials("good\u00a0", "guess-of-a-secret") }, counterfoil.ReasonUnknownClient},
	"bad Base64":                {func(a *ask) { a.authorization("Basic Z29vZDp4eHh4*") }, counterfoil.ReasonCredentialsMalformed},
	"Base64 without padding":    {func(a *ask) { a.authorization("Basic Z29vZDp4eA") }, counterfoil.ReasonCredentialsMalformed},
	"Basic without colon":       {func(a *ask) { a.authorization("Basic " + base64.StdEncoding.EncodeToString([]byte("good"))) }, counterfoil.ReasonCredentialsMalformed},
	"Basic without anything":    {func(a *ask) { a.authorization("Basic") }, counterfoil.ReasonCredentialsMalformed},
	"Basic not UTF-8":           {func(a *ask) { a.authorization(basic("g\xff", "guess-of-a-secret")) }, counterfoil.ReasonCredentialsMalformed},
	"Basic with control":        {func(a *ask) { a.authorization(basic("good", "a\nb")) }, counterfoil.ReasonCredentialsMalformed},
	"Bearer":                    {func(a *ask) { a.authorization("Bearer some-token") }, counterfoil.ReasonMethodNotAccepted},
	"two Authorization headers": {func(a *ask) { a.authorization(basic("good", "x"), basic("good", "x")) }, counterfoil.ReasonMultipleCredentials},
	"two tokens beside the body": {func(a *ask) {
		a.authorization("Bearer stale", "Bearer stale")
		a.form = with(with(a.form, "client_id", "good"), "client_secret", "guess-of-a-secret")
	}, counterfoil.ReasonMultipleCredentials},
	"no Basic and a wrong secret": {func(a *ask) {
		a.authorization("Basic")
		a.form = with(with(a.form, "client_id", "good"), "client_secret", "guess-of-a-secret")
	}, counterfoil.ReasonMultipleCredentials},
	"header and body": {func(a *ask) {
		a.authorization(basic("good", "x"))
		a.form = with(a.form, "client_secret", "guess-of-a-secret")
	}, counterfoil.ReasonMultipleCredentials},
	"two clients": {func(a *ask) {
		a.authorization(basic("good", "x"))
		a.form = with(a.form, "client_id", "other")
	}, counterfoil.ReasonMultipleCredentials},
	"assertion": {func(a *ask) { a.credentials("", ""); a.form = with(a.form, "client_assertion", "x.y.z") }, counterfoil.ReasonMethodNotAccepted},
}

func many(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "&p%d=1", i)
	}
	return s.String()
}

func with(f url.Values, name, value string) url.Values {
	if f == nil {
		f = url.Values{}
	}
	f.Set(name, value)
	return f
}

// setGrantType sets it where the request has it.
func (a *ask) setGrantType(v string) {
	if a.query != "" {
		a.query = "grant_type=" + v
	} else {
		a.form.Set("grant_type", v)
	}
}

// credentials sets them where the request has them; empty removes them.
func (a *ask) credentials(id, secret string) {
	inHeader := a.header.Get("Authorization") != ""
	a.header.Del("Authorization")
	a.form.Del("client_id")
	a.form.Del("client_secret")
	switch {
	case id == "":
	case inHeader:
		a.header.Set("Authorization", basic(id, secret))
	default:
		a.form.Set("client_id", id)
		a.form.Set("client_secret", secret)
	}
}

// authorization replaces whatever credentials there are.
func (a *ask) authorization(values ...string) {
	a.credentials("", "")
	a.header["Authorization"] = values
}

// TestRefusals sends every bad request to every realm. The answer is that of
// the dialect to the byte, the record is there when the answer is, and a good
// request works next, on the same connection unless the body was huge.
func TestRefusals(t *testing.T) {
	h := newHouse(t)
	h.keep("guess-of-a-secret", "in-the-query", "geheimnis", "some-token", "x.y.z", "sssssssss")
	for realm, shapes := range dialects {
		for name, row := range bad {
			t.Run(realm+"/"+name, func(t *testing.T) {
				a := h.good(realm)
				row.change(a)
				if row.reason == counterfoil.ReasonUnsupportedMediaType && a.body == "" && len(a.form) == 0 {
					a.body = "x=1" // altrata's request without a body may be marked as anything
				}
				got := h.do(realm, a)
				want := shapeOf(shapes, row.reason)
				if a.method == http.MethodHead {
					want.body = ""
				}
				if got.status != want.status || got.body != want.body {
					t.Errorf("got  %d %s\nwant %d %s", got.status, got.body, want.status, want.body)
				}
				headers := map[string]string{}
				for n, v := range usual(realm) {
					if n != "Content-Type" || shapeOf(shapes, row.reason).body != "" {
						headers[n] = v
					}
				}
				for n, v := range want.headers {
					headers[n] = v
				}
				wantHeaders(t, got, headers)
				h.wantRefused(t, row.reason)
				h.goodOn(t, realm, name != "10 MB")
			})
		}
	}
}

func usual(realm string) map[string]string {
	switch realm {
	case "oauth2", "altrata":
		return plainHeaders
	case "engagifii", "identityserver":
		return identityHeaders
	}
	return cognitoHeaders
}

func shapeOf(shapes map[counterfoil.Reason]shape, r counterfoil.Reason) shape {
	for ; r != ""; r = r.Parent() {
		if s, ok := shapes[r]; ok {
			return s
		}
	}
	return shape{}
}

// goodOn sends a good request, on the connection of the one before.
func (h *house) goodOn(t *testing.T, realm string, reused bool) {
	t.Helper()
	var conn httptrace.GotConnInfo
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn = i }})
	resp, err := h.http.Do(h.request(ctx, realm, h.good(realm)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("then a good request got %d %s, %v", resp.StatusCode, text, err)
	}
	if reused && !conn.Reused {
		t.Error("the connection was closed")
	}
}

// TestDialectRefusals are those that only one realm has, or answers otherwise.
func TestDialectRefusals(t *testing.T) {
	h := newHouse(t)
	off := h.client(clients.NewClient{Realm: "oauth2", ID: "off", Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}}})
	if err := h.clients.SetDisabled(t.Context(), "test", "oauth2", "off", true); err != nil {
		t.Fatal(err)
	}
	otherKey := h.client(clients.NewClient{Realm: "altrata", ID: "other", WithAPIKey: true}).APIKey.Reveal()
	for name, row := range map[string]struct {
		realm  string
		change func(*ask)
		reason counterfoil.Reason
		shape  shape
	}{
		"ahotu without a media type": {"ahotu", func(a *ask) { a.mediaType = "" }, counterfoil.ReasonUnsupportedMediaType, bare("invalid_request")},
		"a55 without a media type":   {"a55", func(a *ask) { a.mediaType = "" }, counterfoil.ReasonUnsupportedMediaType, bare("invalid_request")},
		"a55 with JSON":              {"a55", func(a *ask) { a.mediaType, a.body = "application/json", "{}" }, counterfoil.ReasonUnsupportedMediaType, bare("invalid_request")},
		"a55 with two spaces":        {"a55", func(a *ask) { a.form.Set("scope", "wallets:read  wallets:read") }, counterfoil.ReasonScopeMalformed, bare("invalid_scope")},
		"ahotu with a space behind":  {"ahotu", func(a *ask) { a.form.Set("scope", "events:read ") }, counterfoil.ReasonScopeMalformed, bare("invalid_scope")},
		"engagifii with spaces only": {"engagifii", func(a *ask) { a.form.Set("scope", "   ") }, counterfoil.ReasonScopeMissing, dialects["engagifii"][counterfoil.ReasonInvalidScope]},
		"engagifii with 301 spaces":  {"engagifii", func(a *ask) { a.form.Set("scope", "EventsApi"+strings.Repeat(" ", 292)) }, counterfoil.ReasonScopeMalformed, dialects["engagifii"][counterfoil.ReasonInvalidScope]},
		"a token and a wrong secret": {"engagifii", func(a *ask) {
			a.form.Set("client_secret", "guess-of-a-secret")
			a.header.Set("Authorization", "Bearer stale")
		}, counterfoil.ReasonWrongSecret, dialects["engagifii"][counterfoil.ReasonInvalidClient]},
		"ahotu wants a scope":          {"ahotu", func(a *ask) { a.form.Del("scope") }, counterfoil.ReasonScopeMissing, bare("invalid_request")},
		"ahotu wants a scope, not ''":  {"ahotu", func(a *ask) { a.form.Set("scope", "") }, counterfoil.ReasonScopeMissing, bare("invalid_request")},
		"engagifii wants a scope":      {"engagifii", func(a *ask) { a.form.Del("scope") }, counterfoil.ReasonScopeMissing, dialects["engagifii"][counterfoil.ReasonInvalidScope]},
		"media type missing":           {"oauth2", func(a *ask) { a.mediaType = "" }, counterfoil.ReasonUnsupportedMediaType, dialects["oauth2"][counterfoil.ReasonUnsupportedMediaType]},
		"disabled client":              {"oauth2", func(a *ask) { a.credentials("off", off.ClientSecret.Reveal()) }, counterfoil.ReasonClientDisabled, dialects["oauth2"][counterfoil.ReasonInvalidClient]},
		"disabled client, a guess":     {"oauth2", func(a *ask) { a.credentials("off", "x") }, counterfoil.ReasonWrongSecret, dialects["oauth2"][counterfoil.ReasonInvalidClient]},
		"grant type first":             {"a55", func(a *ask) { a.credentials("nobody", "x"); a.setGrantType("x") }, counterfoil.ReasonUnsupportedGrantType, bare("unsupported_grant_type")},
		"client first":                 {"identityserver", func(a *ask) { a.credentials("nobody", "x"); a.setGrantType("x") }, counterfoil.ReasonUnknownClient, bare("invalid_client")},
		"grant type in the query":      {"oauth2", func(a *ask) { a.query = "grant_type=client_credentials" }, counterfoil.ReasonMisplacedParameter, dialects["oauth2"][counterfoil.ReasonMisplacedParameter]},
		"altrata's grant type in body": {"altrata", func(a *ask) { a.query = ""; a.form = with(nil, "grant_type", "client_credentials") }, counterfoil.ReasonMisplacedParameter, bare("invalid_request")},
		"altrata's two grant types":    {"altrata", func(a *ask) { a.form = with(nil, "grant_type", "password") }, counterfoil.ReasonMisplacedParameter, bare("invalid_request")},
		"altrata's grant type twice":   {"altrata", func(a *ask) { a.query += "&" + a.query }, counterfoil.ReasonRepeatedParameter, bare("invalid_request")},
		"altrata without a key":        {"altrata", func(a *ask) { a.header.Del("X-Api-Key") }, counterfoil.ReasonAPIKeyMissing, dialects["altrata"][counterfoil.ReasonAPIKeyInvalid]},
		"altrata with a wrong key":     {"altrata", func(a *ask) { a.header.Set("X-Api-Key", "wrong") }, counterfoil.ReasonAPIKeyInvalid, dialects["altrata"][counterfoil.ReasonAPIKeyInvalid]},
		"altrata with two keys":        {"altrata", func(a *ask) { k := a.header.Get("X-Api-Key"); a.header["X-Api-Key"] = []string{k, k} }, counterfoil.ReasonAPIKeyInvalid, dialects["altrata"][counterfoil.ReasonAPIKeyInvalid]},
		"altrata with another's key":   {"altrata", func(a *ask) { a.header.Set("X-Api-Key", otherKey) }, counterfoil.ReasonAPIKeyInvalid, dialects["altrata"][counterfoil.ReasonAPIKeyInvalid]},
		"altrata in the body": {"altrata", func(a *ask) {
			a.authorization()
			a.header.Del("Authorization")
			a.form = url.Values{"client_id": {"good"}, "client_secret": {"x"}}
		}, counterfoil.ReasonMethodNotAccepted, dialects["altrata"][counterfoil.ReasonInvalidClient]},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.good(row.realm)
			row.change(a)
			if got := h.do(row.realm, a); got.status != row.shape.status || got.body != row.shape.body {
				t.Errorf("got  %d %s\nwant %d %s", got.status, got.body, row.shape.status, row.shape.body)
			}
			h.wantRefused(t, row.reason)
			h.token(row.realm)
		})
	}
}

// TestAccepted are requests that look odd and are right.
func TestAccepted(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2", "a55", "ahotu", "altrata", "engagifii", "identityserver")
	colon := h.client(clients.NewClient{Realm: "oauth2", ID: "a:b ü+%", Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}}})
	escaped := basic(url.QueryEscape(colon.ClientID), url.QueryEscape(colon.ClientSecret.Reveal()))
	for name, row := range map[string]struct {
		realm  string
		change func(*ask)
	}{
		"charset":                   {"oauth2", func(a *ask) { a.mediaType += ";charset=UTF-8" }},
		"charset utf8":              {"engagifii", func(a *ask) { a.mediaType += "; charset=utf8" }},
		"charset of ASCII":          {"a55", func(a *ask) { a.mediaType += "; charset=US-ASCII" }},
		"charset of Latin-1":        {"oauth2", func(a *ask) { a.mediaType += ";charset=ISO-8859-1" }},
		"charset of Windows":        {"ahotu", func(a *ask) { a.mediaType += "; charset=windows-1252" }},
		"charset of UTF-16":         {"identityserver", func(a *ask) { a.mediaType += "; charset=utf-16" }},
		"charset in quotes":         {"altrata", func(a *ask) { a.mediaType += `; charset="utf-8"` }},
		"charset of nothing":        {"oauth2", func(a *ask) { a.mediaType += "; charset" }},
		"non-ASCII in UTF-8":        {"oauth2", func(a *ask) { a.mediaType += "; charset=utf8"; a.body = a.form.Encode() + "&x=\u00e9" }},
		"non-ASCII, not escaped":    {"oauth2", func(a *ask) { a.body = a.form.Encode() + "&x=\u00e9" }},
		"stale token and body":      {"engagifii", func(a *ask) { a.header.Set("Authorization", "Bearer stale") }},
		"stale token at Cognito":    {"a55", func(a *ask) { a.header.Set("Authorization", "bearer stale") }},
		"bare token and body":       {"ahotu", func(a *ask) { a.header.Set("Authorization", "stale") }},
		"empty header and body":     {"oauth2", func(a *ask) { a.header["Authorization"] = []string{""} }},
		"scheme Negotiate and body": {"identityserver", func(a *ask) { a.header.Set("Authorization", "Negotiate YII=") }},
		"scheme DPoP and body":      {"oauth2", func(a *ask) { a.header.Set("Authorization", "DPoP stale") }},
		"space behind the scope":    {"engagifii", func(a *ask) { a.form.Set("scope", "EventsApi ") }},
		"space before the scope":    {"engagifii", func(a *ask) { a.form.Set("scope", " EventsApi") }},
		"line end behind the scope": {"engagifii", func(a *ask) { a.form.Set("scope", "EventsApi\r\n") }},
		"spaces between scopes":     {"identityserver", func(a *ask) { a.form.Set("scope", "  read   write  ") }},
		"spaces for scopes":         {"identityserver", func(a *ask) { a.form.Set("scope", "  ") }},
		"media type in capitals":    {"oauth2", func(a *ask) { a.mediaType = "Application/X-WWW-Form-URLencoded" }},
		"Basic":                     {"oauth2", func(a *ask) { a.asBasic() }},
		"basic":                     {"oauth2", func(a *ask) { a.asBasic(); lower(a.header) }},
		"Basic at Cognito":          {"a55", func(a *ask) { a.asBasic() }},
		"Basic and the same id":     {"oauth2", func(a *ask) { a.asBasic(); a.form.Set("client_id", "good") }},
		"form-encoded credentials":  {"oauth2", func(a *ask) { a.authorization(escaped) }},
		"unknown parameter":         {"oauth2", func(a *ask) { a.form.Set("resource_owner", "x") }},
		"unknown in the query":      {"oauth2", func(a *ask) { a.query = "utm_source=x&Scope=admin" }},
		"altrata, also unknown":     {"altrata", func(a *ask) { a.query += "&utm_source=x" }},
		"altrata, also in the body": {"altrata", func(a *ask) { a.form = with(nil, "grant_type", "client_credentials") }},
		"empty scope":               {"oauth2", func(a *ask) { a.form.Set("scope", "") }},
		"one scope":                 {"oauth2", func(a *ask) { a.form.Set("scope", "write") }},
		"empty pairs":               {"oauth2", func(a *ask) { a.body = "&&" + a.form.Encode() + "&" }},
		"altrata without a type":    {"altrata", func(a *ask) { a.mediaType = "" }},
		"altrata with a scope":      {"altrata", func(a *ask) { a.form = with(nil, "scope", "profiles:read") }},
		"altrata with an odd agent": {"altrata", func(a *ask) { a.header.Set("User-Agent", strings.Repeat("ü", 200)) }},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.good(row.realm)
			row.change(a)
			if got := h.do(row.realm, a); got.status != http.StatusOK {
				t.Errorf("got %d %s", got.status, got.body)
			}
			events := h.recorded()
			if last := events[len(events)-1]; last.Type != counterfoil.EventTokenIssued || len(last.UserAgent) > 256 {
				t.Errorf("record %+v", last)
			}
		})
	}
}

func lower(h http.Header) {
	h.Set("Authorization", strings.Replace(h.Get("Authorization"), "Basic", "bASIC", 1))
}

// TestRecordIsClean: what a stranger writes is cut and cannot hide or forge
// lines of a log.
func TestRecordIsClean(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	a := h.good("oauth2")
	a.credentials("evil\x1b[2K\r\nid\u202e\u200b "+strings.Repeat("é", 200), "x")
	a.header.Set("User-Agent", strings.Repeat("u", 300))
	h.do("oauth2", a)
	e := h.wantRefused(t, counterfoil.ReasonCredentialsMalformed)
	if !strings.HasPrefix(e.ClientID, `evil\u001b[2K\u000d\u000aid\u202e\u200b é`) || len(e.ClientID) > 128 {
		t.Errorf("client id %q", e.ClientID)
	}
	if !strings.HasPrefix(e.UserAgent, strings.Repeat("u", 222)+`\~`) || len(e.UserAgent) != 256 {
		t.Errorf("user agent of %d bytes", len(e.UserAgent))
	}
}

// TestSecretAsClientID: a caller that sends its secret as the client ID was recorded,
// logged and listed among the blocks with all of it.
func TestSecretAsClientID(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	secret := h.creds["oauth2"].ClientSecret
	h.keep(secret.Reveal())
	for _, id := range []string{secret.Reveal(), "good:" + secret.Reveal()} {
		a := h.good("oauth2")
		a.credentials(id, "x")
		h.do("oauth2", a)
		e := h.wantRefused(t, counterfoil.ReasonUnknownClient)
		if !strings.HasSuffix(e.ClientID, cfsecret.Hint(secret)) {
			t.Errorf("client id %q", e.ClientID)
		}
		for range 30 { // until it has to wait, which is logged
			h.do("oauth2", a)
		}
	}
	if h.log.String() == "" {
		t.Error("no block is logged")
	}
	if _, _, err := h.clients.Create(t.Context(), "test", clients.NewClient{Realm: "oauth2", ID: secret.Reveal()}); err == nil ||
		strings.Contains(err.Error(), secret.Reveal()) {
		t.Errorf("a client has it as its ID: %v", err)
	}
}

// TestRecordKeepsClientIDsApart: client IDs that look alike, or that are alike up
// to where a record is cut, were recorded as one.
func TestRecordKeepsClientIDsApart(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	long := strings.Repeat("i", 200)
	recorded := map[string]string{}
	for _, id := range []string{
		"client", "client\u200b", "cli\u200bent", `client\u200b`, `client\\u200b`, "client\u2060", "client\ufe0f", "client\u00a0",
		"client ", `client\xff`, "client\u202e", long + "1", long + "2",
	} {
		a := h.good("oauth2")
		a.credentials(id, "x")
		h.do("oauth2", a)
		e := h.last(counterfoil.EventTokenRefused)
		if other, ok := recorded[e.ClientID]; ok {
			t.Errorf("%q and %q are recorded as %q", id, other, e.ClientID)
		}
		recorded[e.ClientID] = id
	}
}

// TestTruncatedBody promises more bytes than it sends.
func TestTruncatedBody(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	u, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, h.http.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := h.good("oauth2").form.Encode()
	if _, err := fmt.Fprintf(conn, "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body)+10, body); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 400 || string(text) != `{"error":"invalid_request"}` {
		t.Errorf("got %d %s, %v", resp.StatusCode, text, err)
	}
	h.wantRefused(t, counterfoil.ReasonMalformedRequest)
	h.token("oauth2")
}

// broken is a store whose methods fail, each with the error that is set: nil for
// none.
type broken struct {
	store.Store
	faults atomic.Pointer[faults]
	// attempts counts the calls of RecordEvents.
	attempts atomic.Int64
}

type faults struct{ read, issued, refused error }

func (b *broken) Client(ctx context.Context, realm, id string) (store.Client, error) {
	if err := b.faults.Load().read; err != nil {
		return store.Client{}, err
	}
	return b.Store.Client(ctx, realm, id)
}

func (b *broken) RecordIssued(ctx context.Context, i store.Issuance) (int64, error) {
	f := *b.faults.Load()
	if errors.Is(f.issued, store.ErrNotFound) {
		f.read = f.issued // the next read finds it so
		b.faults.Store(&f)
	}
	if f.issued != nil {
		return 0, f.issued
	}
	return b.Store.RecordIssued(ctx, i)
}

func (b *broken) RecordEvents(ctx context.Context, all ...counterfoil.Event) error {
	b.attempts.Add(1)
	if err := b.faults.Load().refused; err != nil {
		return err
	}
	return b.Store.RecordEvents(ctx, all...)
}

// TestStoreFails: no token leaves without its record, no refusal is shown as
// what it was, and the cause is in the log and not in the answer. A store that
// has failed is not asked to record that: the caller waited for its lock twice.
func TestStoreFails(t *testing.T) {
	fault := errors.New("the disk is on fire")
	for name, row := range map[string]struct {
		set      faults
		status   int
		body     string
		attempts int64
	}{
		"cannot read":                 {faults{read: fault}, 503, `{"error":"temporarily_unavailable"}`, 0},
		"cannot record a token":       {faults{issued: fault}, 503, `{"error":"temporarily_unavailable"}`, 0},
		"cannot record anything":      {faults{issued: fault, refused: fault}, 503, `{"error":"temporarily_unavailable"}`, 0},
		"client disabled meanwhile":   {faults{issued: store.ErrNotFound}, 401, `{"error":"invalid_client"}`, 1},
		"the record is full, refused": {faults{read: store.ErrNotFound, refused: fault}, 503, `{"error":"temporarily_unavailable"}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var b *broken
			h := newHouseOf(t, func(s store.Store) store.Store { b = &broken{Store: s}; b.faults.Store(&faults{}); return b }, "oauth2")
			b.attempts.Store(0)
			b.faults.Store(&row.set)
			before := h.log.Len()
			got := h.do("oauth2", h.good("oauth2"))
			if got.status != row.status || got.body != row.body {
				t.Errorf("got %d %s, want %d %s", got.status, got.body, row.status, row.body)
			}
			if logged := strings.Contains(h.log.String()[before:], fault.Error()); logged != (row.status == 503) {
				t.Errorf("cause logged: %v", logged)
			}
			if got := b.attempts.Load(); got != row.attempts {
				t.Errorf("%d attempts to record the refusal, want %d", got, row.attempts)
			}
			b.faults.Store(&faults{})
			h.token("oauth2")
		})
	}
}

// waiting is a store that holds each record back until it is told.
type waiting struct {
	store.Store
	arrived, proceed chan struct{}
	recorded         chan error
}

func (w *waiting) RecordIssued(ctx context.Context, i store.Issuance) (int64, error) {
	w.arrived <- struct{}{}
	<-w.proceed
	asOf, err := w.Store.RecordIssued(ctx, i)
	w.recorded <- err
	return asOf, err
}

// TestRecordComesFirst: the answer waits for the record, and the record is made
// even when the caller has hung up.
func TestRecordComesFirst(t *testing.T) {
	w := &waiting{arrived: make(chan struct{}), proceed: make(chan struct{}), recorded: make(chan error, 1)}
	h := newHouseOf(t, func(s store.Store) store.Store { w.Store = s; return w }, "oauth2")
	answered := make(chan answer, 1)
	go func() { answered <- h.do("oauth2", h.good("oauth2")) }()
	<-w.arrived
	select {
	case got := <-answered:
		t.Fatalf("answered %d before the record", got.status)
	default:
	}
	w.proceed <- struct{}{}
	<-w.recorded
	if got := <-answered; got.status != http.StatusOK {
		t.Errorf("got %d %s", got.status, got.body)
	}

	ctx, hangUp := context.WithCancel(t.Context())
	r := h.request(ctx, "oauth2", h.good("oauth2"))
	done := make(chan error, 1)
	go func() {
		resp, err := h.http.Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	<-w.arrived
	hangUp()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("hung up: %v", err)
	}
	w.proceed <- struct{}{}
	if err := <-w.recorded; err != nil {
		t.Errorf("after the caller hung up: %v", err)
	}
}

// Where a request need not be marked as a form, one without a body may be marked
// as anything, or with an empty header: libraries set one on every request.
func TestMediaTypeOfNoBody(t *testing.T) {
	h := newHouseOf(t, nil, "altrata", "a55")
	for name, row := range map[string]struct {
		realm, mediaType, body string
		chunked                bool
		status                 int
		says                   string
	}{
		"an empty header":             {"altrata", " ", "", false, 200, "access_token"},
		"JSON":                        {"altrata", "application/json", "", false, 200, "access_token"},
		"JSON in no chunks":           {"altrata", "application/json", "", true, 200, "access_token"},
		"JSON with a body":            {"altrata", "application/json", "{}", false, 415, `{"error":"invalid_request"}`},
		"JSON with a body in chunks":  {"altrata", "application/json", "{}", true, 415, `{"error":"invalid_request"}`},
		"a form with an empty header": {"altrata", " ", "scope=profiles%3Aread", false, 200, "access_token"},
		"another realm, no header":    {"a55", " ", "", false, 400, `{"error":"invalid_request"}`},
		"another realm, JSON":         {"a55", "application/json", "{}", false, 400, `{"error":"invalid_request"}`},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.good(row.realm)
			a.mediaType, a.body = "", row.body
			r := h.request(t.Context(), row.realm, a)
			r.Header["Content-Type"] = []string{strings.TrimSpace(row.mediaType)}
			if row.chunked {
				r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader(row.body))
			}
			resp, err := h.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if text, _ := io.ReadAll(resp.Body); resp.StatusCode != row.status || !strings.Contains(string(text), row.says) {
				t.Errorf("got %d %s", resp.StatusCode, text)
			}
		})
	}
}
