package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A person opens the explorer in a browser, fills in the headers and runs the
// query that stands there. Nothing is fetched from anywhere else.
func TestExplorerInABrowser(t *testing.T) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: run ./needs.sh", err)
	}
	page := strings.TrimSuffix(shared.env(t, "altrata").Get("API_BASE_URL"), "graphql") + "graphiql/"
	token := strings.TrimSpace(shared.counterfoil(t, "token", "altrata", "--renew").good(t).out)
	headers := fmt.Sprintf(`{"x-api-key": %q, "Authorization": "Bearer %s"}`, shared.env(t, "altrata").Get("API_KEY"), token)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.IgnoreCertErrors, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true))...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	var mu sync.Mutex
	var asked []string
	err = chromedp.Listen(ctx, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok {
			mu.Lock()
			asked = append(asked, e.Request.URL)
			mu.Unlock()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	const editor = `[...document.querySelectorAll('.CodeMirror')].map(e => e.CodeMirror).find(e => e.getValue().includes('x-api-key'))`
	const shown = `document.querySelector('.result-window')?.innerText ?? ''`
	err = chromedp.Do(ctx, chromedp.Navigate(page),
		chromedp.Poll[chromedp.Void](editor+` !== undefined`),
		chromedp.Evaluate[chromedp.Void](editor+`.setValue(`+"`"+headers+"`"+`)`),
		chromedp.Click(chromedp.CSS(`.graphiql-execute-button`)),
		chromedp.Poll[chromedp.Void](`(`+shown+`).includes('totalCount')`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := chromedp.Run(ctx, chromedp.Evaluate[string](shown))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(answer, "errors") || !strings.Contains(answer, "name") {
		t.Errorf("the page shows %s", answer)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, url := range asked {
		if !strings.HasPrefix(url, shared.base+"/altrata/") && !strings.HasPrefix(url, "data:") && !strings.HasPrefix(url, "blob:") {
			t.Errorf("the page fetched %s", url)
		}
	}
	if len(asked) < 3 {
		t.Errorf("the page fetched only %v", asked)
	}
}

// The page is for GET; what is posted to its address is a call of the API.
func TestExplorerAddressIsTheAPIToo(t *testing.T) {
	const post = `printf 'header = "x-api-key: %s"\n' "$API_KEY" | curl -sK - -o /dev/null -w '%{http_code}' "${API_BASE_URL%graphql}graphiql/" -H 'Content-Type: application/json' -d '{"query":"{ __typename }"}'`
	if got := shared.sourced(t, "altrata", post); got.out != fmt.Sprint(http.StatusUnauthorized) {
		t.Errorf("without a token: answered %s", got.out)
	}
	token := strings.TrimSpace(shared.counterfoil(t, "token", "altrata", "--renew").good(t).out)
	if got := shared.sourced(t, "altrata", post+` -H 'Authorization: `+token+`'`); got.out != "200" {
		t.Errorf("with a bare token: answered %s", got.out)
	}
}
