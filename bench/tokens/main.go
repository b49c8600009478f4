// Command tokens measures how many tokens a second the server issues, beside a
// bare net/http handler that parses the same form and signs with the same
// algorithm, in one run on one machine:
//
//	go run ./bench/tokens -rounds 5 -seconds 5
//
// Both sides run as processes of their own and speak plain HTTP on loopback, so
// that TLS, which would cost both the same, does not flatter the ratio. The
// server has a real database with its audit record durable before each answer.
// Rounds alternate between the two; what is printed is the median and the ratio
// of each pair of rounds.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/sqlite"
)

var (
	rounds      = flag.Int("rounds", 5, "rounds of each side")
	seconds     = flag.Int("seconds", 5, "length of a round")
	connections = flag.Int("connections", 32, "connections at once")
	clients     = flag.Int("clients", 1000, "distinct clients")
	dir         = flag.String("dir", "", "directory for the database (default: a new one in the working directory, on a real disk)")
	profile     = flag.String("profile", "", "file to write a CPU profile of the server's side to; each algorithm overwrites the last")
	only        = flag.String("only", "", "measure this algorithm only")
	serve       = flag.String("serve", "", "internal: the side to serve")
)

// algorithms and the catalog entry whose realm signs with each.
var algorithms = []struct{ name, provider string }{{"RS256", "cognito"}, {"ES256", "oauth2"}}

func main() {
	flag.Parse()
	log.SetFlags(0)
	if *serve != "" {
		if err := child(*serve); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := measure(); err != nil {
		log.Fatal(err)
	}
}

func measure() error {
	fmt.Printf("%d connections, %d clients, %d rounds of %d s each\n\n", *connections, *clients, *rounds, *seconds)
	fmt.Printf("%-6s  %-22s  %10s  %9s  %9s\n", "", "", "tokens/s", "p50 ms", "p99 ms")
	for _, a := range algorithms {
		if *only != "" && a.name != *only {
			continue
		}
		if err := compare(a.name, a.provider); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return nil
}

// compare measures one algorithm.
func compare(algorithm, described string) error {
	floor, err := start("floor:"+described, "")
	if err != nil {
		return err
	}
	defer floor.stop()
	data, err := os.MkdirTemp(*dir, ".bench-*")
	if *dir == "" && err == nil {
		os.RemoveAll(data)
		data, err = os.MkdirTemp(".", ".bench-*")
	}
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	full, err := start("server:"+described, data)
	if err != nil {
		return err
	}
	defer full.stop()
	var a, b []result
	var ratios []float64
	for i := range *rounds + 1 {
		ra, err := floor.load()
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		rb, err := full.load()
		if err != nil {
			return fmt.Errorf("server: %w", err)
		}
		if i == 0 {
			continue // the first round warms both up
		}
		a, b, ratios = append(a, ra), append(b, rb), append(ratios, rb.rate/ra.rate)
	}
	row := func(name string, rs []result) {
		fmt.Printf("%-6s  %-22s  %10.0f  %9.2f  %9.2f\n", algorithm, name, median(rs, func(r result) float64 { return r.rate }),
			median(rs, func(r result) float64 { return r.p50 }), median(rs, func(r result) float64 { return r.p99 }))
	}
	row("floor: parse and sign", a)
	row("counterfoil", b)
	slices.Sort(ratios)
	fmt.Printf("%-6s  %-22s  %10.2f  (%.2f to %.2f)\n\n", algorithm, "ratio", ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
	return nil
}

func median(rs []result, of func(result) float64) float64 {
	values := make([]float64, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// side is one of the two processes.
type side struct {
	cmd      *exec.Cmd
	url      *url.URL
	requests [][]byte
}

// start starts a side and reads from it where it listens and one form a line.
func start(what, data string) (*side, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-serve", what, "-dir", data, "-clients", fmt.Sprint(*clients), "-profile", *profile)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &side{cmd: cmd}
	sc := bufio.NewScanner(out)
	for sc.Scan() && sc.Text() != "ready" {
		if s.url == nil {
			if s.url, err = url.Parse(sc.Text()); err != nil {
				return nil, err
			}
			continue
		}
		s.requests = append(s.requests, fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
			s.url.Path, s.url.Host, len(sc.Text()), sc.Text()))
	}
	if s.url == nil || len(s.requests) == 0 {
		s.stop()
		return nil, fmt.Errorf("%s did not start", what)
	}
	return s, nil
}

func (s *side) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

type result struct{ rate, p50, p99 float64 }

// load keeps every connection busy for a round.
func (s *side) load() (result, error) {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		all    []time.Duration
		first  error
		stop   atomic.Bool
		begin  = time.Now()
		length = time.Duration(*seconds) * time.Second
	)
	timer := time.AfterFunc(length, func() { stop.Store(true) })
	defer timer.Stop()
	for c := range *connections {
		wg.Go(func() {
			took, err := s.drive(c, &stop)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil && first == nil {
				first = err
				stop.Store(true)
			}
		})
	}
	wg.Wait()
	if first != nil {
		return result{}, first
	}
	elapsed := time.Since(begin)
	slices.Sort(all)
	ms := func(q float64) float64 { return all[int(q*float64(len(all)-1))].Seconds() * 1000 }
	return result{rate: float64(len(all)) / elapsed.Seconds(), p50: ms(0.5), p99: ms(0.99)}, nil
}

// drive sends one request after the other on one connection.
func (s *side) drive(c int, stop *atomic.Bool) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", s.url.Host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 8<<10)
	var took []time.Duration
	for i := c * len(s.requests) / *connections; !stop.Load(); i++ {
		begin := time.Now()
		if _, err := conn.Write(s.requests[i%len(s.requests)]); err != nil {
			return took, err
		}
		if err := readAnswer(in); err != nil {
			return took, err
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}

// readAnswer reads one answer and insists that it brings a token. It is made
// for these two sides only: a generator that costs little leaves the processor
// to what is measured.
func readAnswer(in *bufio.Reader) error {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(status), "HTTP/1.1 200") {
		return fmt.Errorf("answered %s", strings.TrimSpace(string(status)))
	}
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := strings.Cut(string(line), ":"); strings.EqualFold(name, "Content-Length") {
			if _, err := fmt.Sscan(value, &length); err != nil {
				return err
			}
		}
	}
	body, err := in.Peek(length)
	if err != nil {
		return err
	}
	if !strings.Contains(string(body), `"access_token":"eyJ`) {
		return fmt.Errorf("the answer holds no token")
	}
	_, err = in.Discard(length)
	return err
}

// child serves one side until it is told to stop. Both collect garbage as
// rarely as 'counterfoil up' does.
func child(what string) error {
	debug.SetGCPercent(400)
	kind, described, _ := strings.Cut(what, ":")
	p, err := provider.Builtin(described)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var h http.Handler
	var forms []string
	if kind == "floor" {
		h, forms, err = floorHandler(p)
	} else {
		h, forms, err = serverHandler(p, "https://"+l.Addr().String())
	}
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	fmt.Fprintf(out, "http://%s%s\n%s\nready\n", l.Addr(), p.TokenEndpoint.Path, strings.Join(forms, "\n"))
	if err := out.Flush(); err != nil {
		return err
	}
	if *profile != "" && kind != "floor" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(l, h) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func form(id, secret string) string {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}.Encode()
}

// floorHandler does the two things that no token endpoint can leave out.
func floorHandler(p *provider.Provider) (http.Handler, []string, error) {
	alg := string(p.AccessToken.SigningAlgorithm)
	key, err := jose.Generate(alg)
	if err != nil {
		return nil, nil, err
	}
	protected := fmt.Appendf(nil, `{"alg":%q,"kid":"0123456789abcdef0123456789abcdef","typ":"at+jwt"}`, alg)
	var forms []string
	for i := range *clients {
		forms = append(forms, form(fmt.Sprintf("client-%020d", i), strings.Repeat("s", 43)))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		id, now := r.PostForm.Get("client_id"), time.Now().Unix()
		claims := fmt.Appendf(nil, `{"iss":"https://127.0.0.1/realm","exp":%d,"aud":"https://127.0.0.1/realm","sub":%q,"client_id":%q,"iat":%d,"jti":"00000000-0000-4000-8000-000000000000","scope":"read write"}`,
			now+3600, id, id, now)
		token, err := jose.Sign(key, alg, protected, claims)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, `{"access_token":"`+token+`","expires_in":3600,"token_type":"Bearer"}`)
	}), forms, nil
}

// serverHandler is the whole token endpoint on a database with its clients.
func serverHandler(p *provider.Provider, base string) (http.Handler, []string, error) {
	ctx := context.Background()
	store, err := sqlite.Open(ctx, *dir+"/bench.db")
	if err != nil {
		return nil, nil, err
	}
	s, err := server.New(ctx, server.Config{Store: store, Realms: []server.Realm{{Name: "bench", Provider: p, BaseURL: base}}})
	if err != nil {
		return nil, nil, err
	}
	service := server.NewClients(store, nil)
	forms := make([]string, *clients)
	var wg sync.WaitGroup
	errs := make(chan error, *clients)
	for worker := range 16 {
		wg.Go(func() {
			for i := worker; i < *clients; i += 16 {
				_, creds, err := service.Create(ctx, "bench", server.NewClient{Realm: "bench", Scopes: []string{"read", "write"}})
				if err != nil {
					errs <- err
					return
				}
				forms[i] = form(creds.ClientID, creds.ClientSecret.Reveal())
			}
		})
	}
	wg.Wait()
	close(errs)
	return s.Handler("bench"), forms, <-errs
}
