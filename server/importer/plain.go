package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// plainClient is a row of the format plain. The format is Counterfoil's own,
// so an unknown member is a mistake.
type plainClient struct {
	ClientID         string            `json:"client_id"`
	ClientSecret     string            `json:"client_secret"`
	ClientSecretHash string            `json:"client_secret_hash"` // in a text form of package sechash
	APIKey           string            `json:"api_key"`
	Name             string            `json:"name"`
	Contact          string            `json:"contact"`
	Environment      string            `json:"environment"`
	Scopes           words             `json:"scopes"`
	Tenants          words             `json:"tenants"`
	Addresses        words             `json:"addresses"`
	Labels           map[string]string `json:"labels"`
	Lifetime         text              `json:"lifetime"` // such as 1h, or seconds
	Expires          string            `json:"expires"`
	Disabled         bool              `json:"disabled"`
}

// columns are the members that a CSV file can have, in the order of messages.
var columns = []string{
	"client_id", "client_secret", "client_secret_hash", "api_key", "name", "contact", "environment",
	"scopes", "tenants", "addresses", "labels", "lifetime", "expires", "disabled",
}

func readPlain(raw []byte, row *Row) error {
	var c plainClient
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(&c)
	row.Client.ID, row.Client.Name = c.ClientID, c.Name
	if err != nil {
		// Prefer the error of a lenient reading, if it finds one.
		if err := decode(raw, new(plainClient)); err != nil {
			return err
		}
		for _, name := range slices.Sorted(slices.Values(memberNames(raw))) {
			if !slices.ContainsFunc(columns, func(c string) bool { return strings.EqualFold(c, name) }) {
				return fmt.Errorf("the member %q is not one of %s", event.Clean(name, 100), strings.Join(columns, ", "))
			}
		}
		return fmt.Errorf("it has a member that is not one of %s", strings.Join(columns, ", "))
	}
	return c.fill(row)
}

// fill fills in the row from the file.
func (c *plainClient) fill(row *Row) error {
	n := &row.Client
	n.ID, n.Name, n.Contact, n.Environment = c.ClientID, c.Name, c.Contact, store.Environment(c.Environment)
	n.Tenants, n.Labels, n.Disabled = c.Tenants, c.Labels, c.Disabled
	row.allow(c.Scopes)
	for _, text := range c.Addresses {
		p, err := network(text)
		if err != nil {
			return err
		}
		n.Addresses = append(n.Addresses, p)
	}
	if c.Lifetime != "" {
		d, err := time.ParseDuration(string(c.Lifetime))
		if s, ok := whole(string(c.Lifetime)); ok {
			d, err = time.Duration(min(max(s, -1), 1<<31))*time.Second, nil
		}
		if err != nil {
			return errors.New("lifetime must be a duration such as 1h, or seconds")
		}
		if err := row.lifetime("lifetime", d.Seconds()); err != nil {
			return err
		}
	}
	var err error
	if n.Expires, err = moment("expires", c.Expires); err != nil {
		return err
	}
	if c.APIKey != "" {
		key, err := plainSecret("api_key", c.APIKey)
		if err != nil {
			return err
		}
		row.APIKeys = []Secret{key}
	}
	switch {
	case c.ClientSecret != "" && c.ClientSecretHash != "":
		return errors.New("give client_secret or client_secret_hash, not both")
	case c.ClientSecret != "":
		s, err := plainSecret("client_secret", c.ClientSecret)
		if err != nil {
			return err
		}
		row.Secrets = []Secret{s}
	case c.ClientSecretHash != "":
		h, err := sechash.Parse(c.ClientSecretHash)
		if err != nil {
			return fmt.Errorf("client_secret_hash: %w", err)
		}
		row.Secrets = []Secret{{Member: "client_secret_hash", Hash: h}}
	}
	return row.provable("client_secret")
}

// network parses a CIDR, or one address.
func network(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, errors.New("addresses: an address is neither one nor a network such as 192.0.2.0/24")
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// records reads a CSV file (RFC 4180) whose first line names the columns.
// Lists are separated by spaces; labels are name=value.
func (f *File) records(row func(*Row) error) error {
	comma, told, err := f.delimiter()
	if err != nil {
		return err
	}
	in := &rationed{r: f.spool.From(0), left: ration}
	r := csv.NewReader(in)
	r.FieldsPerRecord, r.ReuseRecord, r.Comma = -1, true, comma
	if told {
		if _, err := r.Read(); err != nil {
			return wrong("import: the file is neither JSON nor CSV with a line of column names")
		}
	}
	heading, err := readHeading(r)
	if err != nil {
		return err
	}
	n := 0
	for ended := false; !ended; {
		in.left = ration
		before := r.InputOffset()
		record, err := r.Read()
		f.read = r.InputOffset()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && !slices.ContainsFunc(record, func(cell string) bool { return strings.TrimSpace(cell) != "" }) {
			continue // spreadsheets leave such rows
		}
		n++
		next := &Row{size: int(f.read - before)}
		var where *csv.ParseError
		switch {
		case err == nil:
			next.number, _ = r.FieldPos(0)
			if next.Err = readRecord(heading, record, next); next.Err == nil && next.Client.ID == "" {
				next.Err = fmt.Errorf("it has no client id: %s is missing", f.format.members.id)
			}
		case errors.As(err, &where) && where.Line > where.StartLine:
			// encoding/csv continues after the line that it could not read.
			next.number, next.Err = where.StartLine, fmt.Errorf("it is not CSV: a quote that opens here reaches "+
				"to line %d, and the lines between were not read", where.Line)
		case errors.As(err, &where):
			next.number, next.Err = where.StartLine, errors.New("it is not CSV: a quote is out of place")
		case errors.Is(err, errRation):
			if next.number, err = lineAt(f.spool.From(0), before); err != nil {
				return fmt.Errorf("import: %w", err)
			}
			next.Err, ended = fmt.Errorf("%w, or a quote opens here and never closes: neither it nor the lines "+
				"behind it were read", errTooLarge), true
		default:
			return fmt.Errorf("import: %w", err)
		}
		next.Place = place(f.unit, next.number)
		if err := row(next); err != nil {
			return err
		}
	}
	if n == 0 {
		return wrong("import: the file has no clients behind its first line")
	}
	return nil
}

// delimiters are the delimiters of CSV files, the usual one first:
// spreadsheets write a semicolon where the comma is the decimal separator.
const delimiters = ",;\t|"

// separatorLine begins the line with which Excel names the delimiter.
const separatorLine = "sep="

func isSeparatorLine(line string) bool {
	return len(line) >= len(separatorLine) && strings.EqualFold(line[:len(separatorLine)], separatorLine)
}

// delimiter returns the delimiter of the fields: the one of the line sep=,
// which Excel reads, or else the one between the names of the columns. told
// says whether there is such a line.
func (f *File) delimiter() (comma rune, told bool, err error) {
	r := bufio.NewReaderSize(f.spool.From(0), 64<<10)
	text := ""
	for text == "" && err == nil { // empty lines are skipped
		var line []byte
		line, err = r.ReadSlice('\n')
		text = strings.TrimRight(string(line), "\r\n")
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return 0, false, fmt.Errorf("import: %w", err)
	}
	if line := strings.Trim(text, `"`); isSeparatorLine(line) {
		sep := line[len(separatorLine):]
		for _, c := range delimiters {
			if sep == string(c) {
				return c, true, nil
			}
		}
		return 0, false, wrong("import: line 1: sep= must be followed by a comma, a semicolon, a tab or a bar")
	}
	for _, c := range delimiters {
		if strings.ContainsRune(text, c) {
			return c, false, nil
		}
	}
	return ',', false, nil
}

// readHeading reads the names of the columns.
func readHeading(r *csv.Reader) ([]string, error) {
	heading, err := r.Read()
	if err != nil {
		return nil, wrong("import: the file is neither JSON nor CSV with a line of column names")
	}
	heading = slices.Clone(heading)
	for i, name := range heading {
		heading[i] = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains(columns, heading[i]) || slices.Contains(heading[:i], heading[i]) {
			return nil, wrong("import: column %d is not one of %s, or is repeated: the first line names the "+
				"columns, with a comma, a semicolon, a tab or a bar between them", i+1, strings.Join(columns, ", "))
		}
	}
	return heading, nil
}

// ration is how much encoding/csv may read for one record, which it holds in
// memory, and for its buffer.
const ration = maxRow + 8<<10

var errRation = errors.New("a record is too large")

// rationed reads a limited amount, then fails.
type rationed struct {
	r    io.Reader
	left int
}

func (r *rationed) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errRation
	}
	n, err := r.r.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

// lineAt returns the line of the record that begins at an offset of the text,
// or after the empty lines there.
func lineAt(text io.Reader, offset int64) (int, error) {
	r := bufio.NewReader(text)
	line := 1
	for at := int64(0); ; at++ {
		c, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		if at >= offset && c != '\n' && c != '\r' {
			return line, nil
		}
		if c == '\n' {
			line++
		}
	}
}

func readRecord(heading, record []string, row *Row) error {
	var c plainClient
	texts := map[string]*string{
		"client_id": &c.ClientID, "client_secret": &c.ClientSecret, "client_secret_hash": &c.ClientSecretHash, "api_key": &c.APIKey,
		"name": &c.Name, "contact": &c.Contact, "environment": &c.Environment, "lifetime": (*string)(&c.Lifetime), "expires": &c.Expires,
	}
	lists := map[string]*words{"scopes": &c.Scopes, "tenants": &c.Tenants, "addresses": &c.Addresses}
	for i, name := range heading {
		if i >= len(record) {
			break
		}
		value := record[i]
		switch {
		case texts[name] != nil:
			*texts[name] = value
		case lists[name] != nil:
			*lists[name] = strings.Fields(value)
		case name == "labels":
			for _, pair := range strings.Fields(value) {
				if c.Labels == nil {
					c.Labels = map[string]string{}
				}
				label, text, _ := strings.Cut(pair, "=")
				c.Labels[label] = text
			}
		case name == "disabled" && value != "":
			disabled, err := strconv.ParseBool(value)
			if err != nil {
				return errors.New("disabled must be true or false")
			}
			c.Disabled = disabled
		}
	}
	row.Client.ID = c.ClientID
	if len(record) != len(heading) {
		return fmt.Errorf("it has %d columns, the first line has %d", len(record), len(heading))
	}
	return c.fill(row)
}
