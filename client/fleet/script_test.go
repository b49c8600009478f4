//go:build unix

package fleet_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/eventually"
)

// steps takes single steps at an entry, as no Cache would be made to take them at
// will: what a step answers that was sent long ago, or is sent twice.
type steps struct {
	*server
	t   *testing.T
	key string
}

// step runs a script and returns the first word of its answer.
func (s steps) step(name string, args ...string) string {
	s.t.Helper()
	var text strings.Builder
	text.WriteString("local function step() ")
	for _, file := range []string{"entry.lua", name + ".lua"} {
		part, err := os.ReadFile(filepath.Join("scripts", file))
		if err != nil {
			s.t.Fatal(err)
		}
		text.Write(part)
		text.WriteByte('\n')
	}
	text.WriteString("end return step()[1]")
	return s.ask(append([]string{"EVAL", text.String(), "1", entryOf(s.key), "counterfoil:changes", s.key}, args...)...)
}

func (s steps) get(field string) string { return s.field(s.key, field) }

// number is a field as a number, 0 for none.
func (s steps) number(field string) int64 {
	n, _ := strconv.ParseInt(s.get(field), 10, 64)
	return n
}

func (s steps) set(fields ...string) { s.ask(append([]string{"HSET", entryOf(s.key)}, fields...)...) }

// now is the server's time in ms.
func (s steps) now() int64 {
	s.t.Helper()
	n, err := strconv.ParseInt(s.ask("EVAL", "local at = redis.call('TIME'); return at[1] .. string.format('%03d', math.floor(at[2] / 1000))", "0"), 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func text(n int64) string { return strconv.FormatInt(n, 10) }

const (
	known0 = "0"
	digest = "d0"
	master = "01234567" // the ID of a master key
)

func (s steps) acquire(holder, known, credentials string) string {
	s.t.Helper()
	return s.step("acquire", holder, "30000", known, credentials, master, "200")
}

// lease has holder take the lease, which must be there, and returns its number.
func (s steps) lease(holder string) string {
	s.t.Helper()
	s.set("a", "1") // nobody is asked for a lost token any more
	equal(s.t, "lease of "+holder, s.acquire(holder, text(2*s.number("g")+1), "c0"), "ok")
	return s.get("n")
}

// over has the lease end.
func (s steps) over() { s.set("u", "1") }

func (s steps) publish(n, token string) string {
	s.t.Helper()
	return s.step("publish", n, token, digest, text(s.now()+60000), "60000", master)
}

func (s steps) restore(order int64, token string) string {
	s.t.Helper()
	return s.step("restore", text(order), token, digest, text(s.now()+60000), "60000", master)
}

func (s steps) fail(holder, n, credentials, least, most string) string {
	s.t.Helper()
	return s.step("release", holder, n, credentials, "the failure", least, most)
}

const none = "$-1"

// What a step finds decides what it does: a step that comes late, twice or from
// somebody else changes nothing.
func TestSteps(t *testing.T) {
	server := start(t)
	for name, test := range map[string]func(t *testing.T, s steps){
		"numbers of leases begin above the time in µs": func(t *testing.T, s steps) {
			before := s.now()
			s.lease("A")
			if n := s.number("n"); n <= before*1000 {
				t.Errorf("%d at %d ms", n, before)
			}
		},
		"and above what is known": func(t *testing.T, s steps) {
			g := (s.now() + time.Hour.Milliseconds()) * 1000
			s.set("a", "1")
			equal(t, "acquire", s.acquire("A", text(2*g+1), "c0"), "ok")
			equal(t, "number", s.number("n"), g+1)
		},
		"and above the last": func(t *testing.T, s steps) {
			n := (s.now() + time.Hour.Milliseconds()) * 1000
			s.set("n", text(n))
			s.lease("A")
			equal(t, "number", s.number("n"), n+1)
		},
		"a beat after another has had the lease": func(t *testing.T, s steps) {
			late := s.lease("A")
			s.over()
			n := s.lease("B")
			equal(t, "beat", s.step("beat", "A", late, "3000"), "refused")
			equal(t, "lease", s.get("h")+s.get("n"), "B"+n)
		},
		"a beat after the token was put there": func(t *testing.T, s steps) {
			n := s.lease("A")
			equal(t, "publish", s.publish(n, "token"), "ok")
			equal(t, "beat", s.step("beat", "A", n, "3000"), "refused")
			equal(t, "lease", s.get("h"), none)
		},
		"a beat brings back a lease that was lost": func(t *testing.T, s steps) {
			n := s.lease("A")
			s.ask("DEL", entryOf(s.key))
			equal(t, "beat", s.step("beat", "A", n, "30000"), "ok")
			equal(t, "lease", s.get("h")+s.get("n"), "A"+n)
			equal(t, "another asks", s.acquire("B", known0, "c0"), "held")
		},
		"a token put there a second time, dropped by then": func(t *testing.T, s steps) {
			n := s.lease("A")
			equal(t, "publish", s.publish(n, "token"), "ok")
			equal(t, "drop", s.step("drop", digest), "ok")
			equal(t, "publish", s.publish(n, "token"), "refused")
			equal(t, "token", s.get("t"), none)
		},
		"a token got under a lease that another has had since": func(t *testing.T, s steps) {
			late := s.lease("A")
			s.over()
			n := s.lease("B")
			equal(t, "publish", s.publish(late, "token"), "refused")
			equal(t, "publish", s.publish(n, "newer"), "ok")
			equal(t, "publish", s.publish(late, "token"), "refused")
			equal(t, "token", s.get("t"), "newer")
		},
		"a token ends the lease and the failures, and lives no longer than it does": func(t *testing.T, s steps) {
			equal(t, "release", s.fail("A", s.lease("A"), "c0", "0", "60000"), "ok")
			s.set("p", "1")
			n := s.lease("A")
			before := s.now()
			equal(t, "publish", s.step("publish", n, "token", digest, text(before+time.Hour.Milliseconds()), "60000", master), "ok")
			if ends := s.number("e"); ends < before+60000 || ends > s.now()+60000 {
				t.Errorf("ends %d ms after now", ends-before)
			}
			for _, field := range []string{"h", "u", "a", "c", "p", "r", "f"} {
				equal(t, field, s.get(field), none)
			}
			equal(t, "generation", s.get("g")+s.get("d")+s.get("k"), n+digest+master)
		},
		"the entry outlives the token by an hour": func(t *testing.T, s steps) {
			s.publish(s.lease("A"), "token")
			left, _ := strconv.Atoi(strings.TrimPrefix(s.ask("PTTL", entryOf(s.key)), ":"))
			if left <= 60000+3500000 || left > 60000+3600000 {
				t.Errorf("%d ms", left)
			}
		},
		"the lease is kept from others until it ends": func(t *testing.T, s steps) {
			s.lease("A")
			equal(t, "another", s.acquire("B", known0, "c0"), "held")
			equal(t, "its holder again", s.acquire("A", known0, "c0"), "ok")
			s.over()
			equal(t, "another", s.acquire("B", known0, "c0"), "ok")
			equal(t, "holder", s.get("h"), "B")
		},
		"a lease that lasts longer than any is none": func(t *testing.T, s steps) {
			s.lease("A")
			s.set("u", text(s.now()+61000))
			equal(t, "another", s.acquire("B", known0, "c0"), "ok")
		},
		"who knows less is told": func(t *testing.T, s steps) {
			s.publish(s.lease("A"), "token")
			equal(t, "acquire", s.acquire("B", text(2*s.number("g")-1), "c0"), "changed")
			equal(t, "holder", s.get("h"), none)
		},
		"a new entry is asked for first, by one": func(t *testing.T, s steps) {
			equal(t, "the first", s.acquire("A", known0, "c0"), "asked")
			until := s.number("a")
			if left := until - s.now(); left > 200 || left < -5000 {
				t.Errorf("asked for %d ms", left)
			}
			s.set("a", text(s.now()+10000))
			equal(t, "another", s.acquire("B", known0, "c0"), "asked")
			equal(t, "holder", s.get("h"), none)
		},
		"who lacks the master key takes no lease": func(t *testing.T, s steps) {
			s.publish(s.lease("A"), "token")
			s.set("k", "89abcdef")
			equal(t, "acquire", s.acquire("A", text(2*s.number("g")), "c0"), "sealed")
		},
		"a failure stands for the same credentials": func(t *testing.T, s steps) {
			equal(t, "release", s.fail("A", s.lease("A"), "c0,c1", "50000", "60000"), "ok")
			equal(t, "lease", s.get("h")+s.get("u"), none+none)
			equal(t, "the same", s.acquire("B", known0, "c0"), "failed")
			equal(t, "another", s.acquire("B", known0, "c2"), "ok")
		},
		"pauses grow for the same credentials, to the most": func(t *testing.T, s steps) {
			for i, row := range []struct {
				credentials, least, most string
				want                     int64
			}{
				{"c0", "0", "60000", 1000}, {"c0", "0", "60000", 2000}, {"c0", "0", "60000", 4000}, {"c0", "0", "5000", 5000},
				{"c0", "7000", "5000", 7000}, {"c1", "0", "60000", 1000}, {"c1", "0", "60000", 2000},
			} {
				n := s.lease("A")
				before := s.now()
				equal(t, "release", s.fail("A", n, row.credentials, row.least, row.most), "ok")
				if until := s.number("p"); until < before+row.want || until > s.now()+row.want {
					t.Errorf("pause %d: %d ms, want %d", i, until-before, row.want)
				}
				s.set("p", "1")
			}
		},
		"only its holder ends a lease": func(t *testing.T, s steps) {
			n := s.lease("A")
			equal(t, "another", s.fail("B", n, "c0", "0", "60000"), "refused")
			s.over()
			s.lease("A")
			equal(t, "with the number before", s.fail("A", n, "c0", "0", "60000"), "refused")
			equal(t, "lease, failure", s.get("h")+s.get("f"), "A"+none)
		},
		"exactly the rejected token is dropped": func(t *testing.T, s steps) {
			s.publish(s.lease("A"), "token")
			s.set("a", text(s.now()+10000))
			equal(t, "another", s.step("drop", "d1,d2"), "refused")
			equal(t, "token", s.get("t"), "token")
			equal(t, "that", s.step("drop", "d1,"+digest), "ok")
			equal(t, "token, key", s.get("t")+s.get("d")+s.get("e")+s.get("k"), none+none+none+master)
			equal(t, "and nobody is asked for it", s.get("a"), none)
		},
		"an older token is not put back": func(t *testing.T, s steps) {
			s.publish(s.lease("A"), "token")
			g := s.number("g")
			equal(t, "an older", s.restore(2*g-2, "old"), "refused")
			equal(t, "the same", s.restore(2*g, "same"), "refused")
			equal(t, "token", s.get("t"), "token")
			equal(t, "that it was dropped", s.step("restore", text(2*g+1), "", "", "0", "0", master), "ok")
			equal(t, "token", s.get("t"), none)
			equal(t, "what was dropped", s.restore(2*g, "again"), "refused")
		},
		"a token that is put back lives no longer than it does": func(t *testing.T, s steps) {
			before := s.now()
			equal(t, "restore", s.step("restore", text(2*before*1000), "token", digest, text(before+time.Hour.Milliseconds()), "60000", master), "ok")
			if ends := s.number("e"); ends > s.now()+60000 {
				t.Errorf("ends %d ms after now", ends-before)
			}
		},
		"a token that is put back leaves a later lease": func(t *testing.T, s steps) {
			s.lease("A")
			n := s.number("n")
			equal(t, "an older", s.restore(2*(n-1), "token"), "ok")
			equal(t, "lease", s.get("h")+s.get("n"), "A"+text(n))
			equal(t, "one as new", s.restore(2*(n+5), "token"), "ok")
			equal(t, "lease", s.get("h")+s.get("u")+s.get("n"), none+none+text(n+5))
		},
		"numbers a day ahead are none": func(t *testing.T, s steps) {
			far := (s.now() + 25*time.Hour.Milliseconds()) * 1000
			s.lease("A")
			equal(t, "publish", s.publish(text(far), "token"), "refused")
			equal(t, "beat", s.step("beat", "A", text(far), "3000"), "refused")
			equal(t, "restore", s.restore(2*far, "token"), "refused")
			s.over()
			equal(t, "acquire", s.acquire("A", text(2*far), "c0"), "ok")
			if n := s.number("n"); n >= far {
				t.Errorf("number %d", n)
			}
			s.set("n", text(far))
			s.step("read")
			equal(t, "entry", s.ask("EXISTS", entryOf(s.key)), ":0")
		},
		"what is not whole is deleted": func(t *testing.T, s steps) {
			for _, field := range []string{"g", "n", "e", "u", "a", "p", "r"} {
				for _, value := range []string{"x", "", "-1", "1.5", "12345678901234567"} {
					s.set(field, value)
					s.step("read")
					equal(t, field+" "+value, s.ask("EXISTS", entryOf(s.key)), ":0")
				}
			}
			s.set("f", strings.Repeat("x", 262145))
			s.step("read")
			equal(t, "a long failure", s.ask("EXISTS", entryOf(s.key)), ":0")
		},
		"only what was read is sealed anew": func(t *testing.T, s steps) {
			s.publish(s.lease("A"), "newer")
			equal(t, "reseal", s.step("reseal", "token", "anew", "d1", "89abcdef"), "refused")
			equal(t, "reseal", s.step("reseal", "", "anew", "d1", "89abcdef"), "refused")
			equal(t, "token, key", s.get("t")+s.get("d")+s.get("k"), "newer"+digest+master)
			equal(t, "reseal", s.step("reseal", "newer", "anew", "d1", "89abcdef"), "ok")
			equal(t, "token, key", s.get("t")+s.get("d")+s.get("k"), "anewd189abcdef")
		},
	} {
		t.Run(name, func(t *testing.T) {
			server.ask("FLUSHALL")
			test(t, steps{server, t, key})
		})
	}
}

// Others are told of a token that is put back: it may be newer than theirs.
func TestTokenThatIsPutBackIsTold(t *testing.T) {
	s := start(t)
	c := s.config()
	var told states
	c.OnState = told.told
	one := open(t, c)
	renewed(t, one, key, give("one"))
	steps := steps{s, t, key}
	equal(t, "restore", steps.restore(2*(steps.number("g")+5), "damaged, so that it is told"), "ok")
	eventually.True(t, "it is looked at", func() bool { return strings.Contains(told.text(), "damaged") })
}
