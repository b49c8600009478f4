//go:build unix

// Command server measures what 'make bench-server' quotes, in one run on one
// machine:
//
//	go run ./bench/server -rounds 5 -seconds 5
//
// Tokens a second of the server beside a bare net/http handler that parses the
// same form and signs with the same algorithm, with few clients and with many;
// one client's tokens under the policy "reuse" beside a handler that signs
// nothing; the audit record and the limits, on and off; 1, 32 and 256
// connections; latency at fixed rates; RS256 beside npm's oidc-provider and
// 'openssl speed'; a fresh TLS connection for each token beside kept ones;
// start-up and memory with many clients.
//
// All sides run as processes of their own and use plain HTTP on loopback, but
// where TLS is what is measured: its cost is the same for all, and would flatter
// the ratios. The server has a real database, its audit record is durable before
// each response, and it counts requests for its limits. Rounds of the sides
// alternate; the output is the median of each, and the median, lowest and
// highest of the ratios of consecutive rounds.
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
	only        = flag.String("only", "", "measure these only, by comma: tokens, many, reuse, audit, connections, rates, peer, fresh, start")
	algorithm   = flag.String("algorithm", "", "RS256 or ES256 only")
	dir         = flag.String("dir", "", "directory for the databases (default: a new one in the working directory, on a real disk)")
	profile     = flag.String("profile", "", "file to write a CPU profile of the server's side to; the last one is kept")
	serve       = flag.String("serve", "", "internal: the side to serve")
)

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
	}{
		{"tokens", tokens}, {"many", manyClients}, {"reuse", reuse}, {"audit", auditAndLimits}, {"connections", byConnections},
		{"rates", fixedRates}, {"peer", peer}, {"fresh", freshConnections}, {"start", startUp},
	} {
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
			floor, full := floorSide(plan{Algorithm: alg, Signer: signer}), serverSide(data, plan{Algorithm: alg, Signer: signer, Clients: *few})
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
		a := serverSide(data, plan{Algorithm: alg, Signer: signer, Clients: *few})
		b := serverSide(data, plan{Algorithm: alg, Signer: signer, Clients: *many})
		if err := compare(alg+" by "+signer, []*side{a, b}); err != nil {
			return err
		}
	}
	return nil
}

// reuse compares one client's tokens with responses that need no signature.
func reuse(data string) error {
	fmt.Println(`Answers a second to one client under "reuse", beside a handler that parses and answers a fixed token`)
	floor := floorSide(plan{Algorithm: "none", Signer: "nothing"})
	full := serverSide(data, plan{Algorithm: "RS256", Signer: signersOf("RS256")[0], Policy: "reuse", Clients: 1})
	return compare("reuse", []*side{floor, full})
}

// auditAndLimits compares the server with itself.
func auditAndLimits(data string) error {
	fmt.Printf("Tokens a second, %d clients, the audit record and the limits on and off\n", *few)
	for _, alg := range algorithms() {
		var sides []*side
		for _, p := range []plan{{NoAudit: true, NoLimits: true}, {NoAudit: true}, {NoLimits: true}, {}} {
			p.Algorithm, p.Signer, p.Clients = alg, signersOf(alg)[0], *few
			sides = append(sides, serverSide(data, p))
		}
		if err := compare(alg, sides); err != nil {
			return err
		}
	}
	return nil
}

// byConnections compares the server with the floor on 1, 32 and 256 connections.
func byConnections(data string) error {
	defer func(n int) { *connections = n }(*connections)
	for _, *connections = range []int{1, 32, 256} {
		fmt.Printf("Tokens a second, %d clients, %d connections\n", *few, *connections)
		for _, alg := range algorithms() {
			w := plan{Algorithm: alg, Signer: signersOf(alg)[0], Clients: *few}
			if err := compare(alg, []*side{floorSide(w), serverSide(data, w)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// fixedRates measures latency at shares of the capacity, which it measures first.
func fixedRates(data string) error {
	defer func(n int) { *connections = n }(*connections)
	*connections = 256
	fmt.Printf("Latency at fixed rates, %d clients, %d connections, timed from when a request is due\n", *few, *connections)
	for _, alg := range algorithms() {
		w := plan{Algorithm: alg, Signer: signersOf(alg)[0], Clients: *few}
		for _, s := range []*side{floorSide(w), serverSide(data, w)} {
			if err := atRates(alg, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func atRates(alg string, s *side) error {
	if err := s.start(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer s.stop()
	shares := []float64{0.5, 0.8, 0.95}
	results := make([][]result, len(shares))
	capacities := make([]result, *rounds)
	if _, err := s.load(0); err != nil { // warms up
		return err
	}
	for i := range *rounds {
		var err error
		if capacities[i], err = s.load(0); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for k, share := range shares {
			r, err := s.load(share * capacities[i].rate)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			results[k] = append(results[k], r)
		}
	}
	fmt.Printf("%-14s  %s: %.0f a second when all connections are busy\n", alg, s.name, median(capacities, result.perSecond))
	for k, share := range shares {
		rs := results[k]
		fmt.Printf(
			"%-14s  at %2.0f %%: %6.0f a second, p50 %.2f, p99 %.2f, p99.9 %.2f ms\n", "", share*100, median(rs, result.perSecond),
			median(rs, func(r result) float64 { return r.p50 }),
			median(rs, func(r result) float64 { return r.p99 }),
			median(rs, func(r result) float64 { return r.p999 }),
		)
	}
	return nil
}

// peer compares the server with oidc-provider, RS256 and distinct clients.
func peer(data string) error {
	fmt.Printf("RS256 tokens a second, %d distinct clients, beside oidc-provider\n", *few)
	sides := []*side{oidcSide("RS256", 1, ""), oidcSide("RS256", 2, "")}
	for _, signer := range signersOf("RS256") {
		sides = append(sides, serverSide(data, plan{Algorithm: "RS256", Signer: signer, Clients: *few}))
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
			r, err := s.load(0)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if i > 0 { // the first round warms up
				results[k] = append(results[k], r)
			}
		}
	}
	fmt.Printf("%-14s  %-42s %10s %8s %8s %11s %8s\n", what, "", "a second", "p50 ms", "p99 ms", "cpu µs each", "RSS MB")
	for k, s := range sides {
		rs := results[k]
		fmt.Printf(
			"%-14s  %-42s %10.0f %8.2f %8.2f %11.0f %8.0f\n", "", s.name, median(rs, result.perSecond),
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
