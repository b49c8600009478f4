package eventstream_test

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/counterfoil/counterfoil/guard/internal/eventstream"
)

// read returns all events of a stream, and the error that ended it.
func read(in io.Reader, most int) (all []eventstream.Event, err error) {
	r := eventstream.NewReader(in, most)
	for {
		e, err := r.Next()
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
}

func event(kind, id, data string) eventstream.Event {
	return eventstream.Event{Type: kind, ID: id, Data: []byte(data)}
}

func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []eventstream.Event
	}{
		{"nothing", "", nil},
		{"one", "event: a\nid: 1\ndata: x\n\n", []eventstream.Event{event("a", "1", "x")}},
		{"carriage returns", "event: a\rdata: x\r\rdata: y\r\r", []eventstream.Event{event("a", "", "x"), event("message", "", "y")}},
		{"both", "event: a\r\ndata: x\r\n\r\ndata: y\r\n\r\n", []eventstream.Event{event("a", "", "x"), event("message", "", "y")}},
		{"several lines of data", "data: x\ndata\ndata:  y\n\n", []eventstream.Event{event("message", "", "x\n\n y")}},
		{"empty data", "event: a\ndata\n\n", []eventstream.Event{{Type: "a"}}},
		{"no data is no event", "event: a\nid: 7\n\ndata: x\n\n", []eventstream.Event{event("message", "7", "x")}},
		{"comments and other fields", ": hello\nretry: 10\nnonsense\ndata: x\n:\n\n", []eventstream.Event{event("message", "", "x")}},
		{"an id lasts", "id: 1\ndata: x\n\ndata: y\n\nid\ndata: z\n\n", []eventstream.Event{event("message", "1", "x"), event("message", "1", "y"), event("message", "", "z")}},
		{"an id with a zero byte", "id: 1\ndata: x\n\nid: \x002\ndata: y\n\n", []eventstream.Event{event("message", "1", "x"), event("message", "1", "y")}},
		{"a byte order mark", "\ufeffdata: x\n\n", []eventstream.Event{event("message", "", "x")}},
		{"cut within an event", "data: x\n\ndata: y\n", []eventstream.Event{event("message", "", "x")}},
		{"cut within a line", "data: x\n\ndata: y", []eventstream.Event{event("message", "", "x")}},
		{"a colon in the value", "data: a:b\n\n", []eventstream.Event{event("message", "", "a:b")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, in := range map[string]io.Reader{
				"at once": strings.NewReader(tt.text), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.text)),
			} {
				if got, err := read(in, 100); !errors.Is(err, io.EOF) || !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
		})
	}
}

func TestBounds(t *testing.T) {
	for name, text := range map[string]string{
		"a line":    "data: " + strings.Repeat("x", 15) + "\n\n",
		"a comment": strings.Repeat(":", 21),
		"the data":  "data: " + strings.Repeat("x", 14) + "\ndata: " + strings.Repeat("x", 10) + "\n\n",
	} {
		if got, err := read(strings.NewReader("data: y\n\n"+text), 20); !errors.Is(err, eventstream.ErrTooLong) || len(got) != 1 {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := read(strings.NewReader("data: "+strings.Repeat("x", 14)+"\n\n"), 20); !errors.Is(err, io.EOF) || len(got) != 1 {
		t.Errorf("a line of the length: %q, %v", got, err)
	}
	full := "data: " + strings.Repeat("x", 14) + "\ndata: " // with the line feed between them
	if got, err := read(strings.NewReader(full+"xxxxx\n\n"), 20); !errors.Is(err, io.EOF) || len(got) != 1 || len(got[0].Data) != 20 {
		t.Errorf("data of the length: %q, %v", got, err)
	}
	if got, err := read(strings.NewReader(full+"xxxxxx\n\n"), 20); !errors.Is(err, eventstream.ErrTooLong) {
		t.Errorf("data of one byte more: %q, %v", got, err)
	}
}

// An event is there with its last line, though nothing follows.
func TestNothingIsWaitedFor(t *testing.T) {
	in, out := io.Pipe()
	defer in.Close()
	go func() { _, _ = out.Write([]byte("data: x\r\n\r")) }()
	r := eventstream.NewReader(in, 100)
	if e, err := r.Next(); err != nil || string(e.Data) != "x" {
		t.Errorf("%q, %v", e, err)
	}
}

// FuzzReader compares what is read with what the same text is by another way:
// lines first, then events.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{"event: a\nid: 1\ndata: x\n\n", "data: x\r\n\r\n\rdata\r\r", "\ufeffdata:x\n\n:\n", "id: \x00\ndata: y\n\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const most = 64
		got, err := read(strings.NewReader(text), most)
		if errors.Is(err, eventstream.ErrTooLong) {
			return
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(text, "\ufeff")), "\n")
		var want []eventstream.Event
		e, data, id := eventstream.Event{Type: "message"}, []string(nil), ""
		for _, line := range lines[:len(lines)-1] {
			name, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case line == "":
				if data != nil {
					want = append(want, event(e.Type, id, strings.Join(data, "\n")))
				}
				e, data = eventstream.Event{Type: "message"}, nil
			case name == "event" && value == "":
				e.Type = "message"
			case name == "event":
				e.Type = value
			case name == "data":
				data = append(data, value)
			case name == "id" && !strings.Contains(value, "\x00"):
				id = value
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for i := range got {
			if got[i].Type != want[i].Type || got[i].ID != want[i].ID || string(got[i].Data) != string(want[i].Data) || len(got[i].Data) > most {
				t.Fatalf("event %d: %q, want %q", i, got[i], want[i])
			}
		}
	})
}
