//go:build unix

// Command server measures what 'make bench-server' quotes, in one run on one
// machine:
//
//	go run ./bench/server -rounds 5 -seconds 5
//
// Tokens a second of the server beside a bare net/http handler that parses the
// same form and signs with the same algorithm, with few clients and with many;
// one client's tokens under the policy "reuse" beside a handler that signs
// nothing; RS256 beside npm's oidc-provider and 'openssl speed'; start-up and
// memory with many clients.
//
// All sides run as processes of their own and use plain HTTP on loopback, so
// that TLS, whose cost is the same for all, flatters no ratio. The server has a
// real database and its audit record is durable before each response. Rounds of
// the sides alternate; the output is the median of each, and the median, lowest
// and highest of the ratios of consecutive rounds.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
)

var (
	rounds      = flag.Int("rounds", 5, "rounds of each side")
	seconds     = flag.Int("seconds", 5, "length of a round")
	connections = flag.Int("connections", 32, "connections at once")
	few         = flag.Int("few", 1000, "few distinct clients")
	many        = flag.Int("many", 1_000_000, "many distinct clients")
	only        = flag.String("only", "", "measure these only, by comma: tokens, many, reuse, peer, start")
	algorithm   = flag.String("algorithm", "", "RS256 or ES256 only")
	dir         = flag.String("dir", "", "directory for the databases (default: a new one in the working directory, on a real disk)")
	profile     = flag.String("profile", "", "file to write a CPU profile of the server's side to; the last one is kept")
	serve       = flag.String("serve", "", "internal: the side to serve")
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	if *serve != "" {
		if err := child(strings.Fields(*serve)); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := measure(); err != nil {
		log.Fatal(err)
	}
}

func wanted(section string) bool {
	return *only == "" || slices.Contains(strings.Split(*only, ","), section)
}

func measure() (err error) {
	data := *dir
	if data == "" {
		if data, err = os.MkdirTemp(".", ".bench-*"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	}
	fmt.Printf("%d connections, %d rounds of %d s each\n", *connections, *rounds, *seconds)
	for _, section := range []struct {
		name string
		run  func(data string) error
	}{{"tokens", tokens}, {"many", manyClients}, {"reuse", reuse}, {"peer", peer}, {"start", startUp}} {
		if !wanted(section.name) {
			continue
		}
		fmt.Println()
		if err := section.run(data); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
	}
	return nil
}

func algorithms() []string {
	if *algorithm != "" {
		return []string{*algorithm}
	}
	return []string{"RS256", "ES256"}
}

// tokens compares the server with the floor.
func tokens(data string) error {
	fmt.Printf("Tokens a second, %d clients, beside a handler that parses and signs\n", *few)
	for _, alg := range algorithms() {
		for _, signer := range signersOf(alg) {
			floor, full := floorSide(alg, signer), serverSide(data, alg, signer, "independent", *few)
			if err := compare(alg+" by "+signer, []*side{floor, full}); err != nil {
				return err
			}
		}
	}
	return nil
}

// manyClients compares the server with itself.
func manyClients(data string) error {
	fmt.Printf("Tokens a second, %d clients and %d\n", *few, *many)
	for _, alg := range algorithms() {
		signer := signersOf(alg)[0]
		a, b := serverSide(data, alg, signer, "independent", *few), serverSide(data, alg, signer, "independent", *many)
		if err := compare(alg+" by "+signer, []*side{a, b}); err != nil {
			return err
		}
	}
	return nil
}

// reuse compares one client's tokens with responses that need no signature.
func reuse(data string) error {
	fmt.Println(`Answers a second to one client under "reuse", beside a handler that parses and answers a fixed token`)
	floor, full := floorSide("none", "nothing"), serverSide(data, "RS256", signersOf("RS256")[0], "reuse", 1)
	return compare("reuse", []*side{floor, full})
}

// peer compares the server with oidc-provider, RS256 and distinct clients.
func peer(data string) error {
	fmt.Printf("RS256 tokens a second, %d distinct clients, beside oidc-provider\n", *few)
	sides := []*side{oidcSide("RS256", 1), oidcSide("RS256", 2)}
	for _, signer := range signersOf("RS256") {
		sides = append(sides, serverSide(data, "RS256", signer, "independent", *few))
	}
	limit, err := opensslSpeed()
	if err != nil {
		return err
	}
	fmt.Printf("openssl speed -multi 2 rsa2048: %s signatures a second, with nothing else to do\n", limit)
	return compare("RS256", sides)
}

// compare measures sides in turn and prints them, and the ratio of each to the
// previous one.
func compare(what string, sides []*side) error {
	for _, s := range sides {
		if err := s.start(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		defer s.stop()
	}
	results := make([][]result, len(sides))
	for i := range *rounds + 1 {
		for k, s := range sides {
			r, err := s.load()
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if i > 0 { // the first round warms up
				results[k] = append(results[k], r)
			}
		}
	}
	fmt.Printf("%-14s  %-34s %10s %8s %8s %11s %8s\n", what, "", "a second", "p50 ms", "p99 ms", "cpu µs each", "RSS MB")
	for k, s := range sides {
		rs := results[k]
		fmt.Printf(
			"%-14s  %-34s %10.0f %8.2f %8.2f %11.0f %8.0f\n", "", s.name, median(rs, result.perSecond),
			median(rs, func(r result) float64 { return r.p50 }),
			median(rs, func(r result) float64 { return r.p99 }),
			median(rs, func(r result) float64 { return r.cpu }),
			median(rs, func(r result) float64 { return r.rss }),
		)
	}
	for k := 1; k < len(sides); k++ {
		var ratios []float64
		for i := range results[k] {
			ratios = append(ratios, results[k][i].rate/results[k-1][i].rate)
		}
		slices.Sort(ratios)
		fmt.Printf(
			"%-14s  %s / %s: %.2f (%.2f to %.2f)\n", "", sides[k].name, sides[k-1].name, ratios[len(ratios)/2],
			ratios[0], ratios[len(ratios)-1],
		)
	}
	return nil
}

func median[T any, V cmp.Ordered](rs []T, of func(T) V) V {
	values := make([]V, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
