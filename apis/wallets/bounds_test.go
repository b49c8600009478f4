package wallets_test

import "testing"

// TestYearsOfAWallet are from 1980 to 2999.
func TestYearsOfAWallet(t *testing.T) {
	const opened = "2025-01-06T09:00:00-03:00"
	for at, ok := range map[string]bool{
		"1980-01-01T00:00:00Z": true, "1979-12-31T23:59:59Z": false,
		"1980-01-01T00:00:00+01:00": false, "1979-12-31T23:00:00-01:00": true,
	} {
		if _, _, err := importInto(t, line(1, opened, at)); (err == nil) != ok {
			t.Errorf("opened at %s: error %v", at, err)
		}
	}
	const booked = "2026-01-05T14:00:00Z" // of the last movement
	for at, ok := range map[string]bool{"2999-12-31T23:59:59Z": true, "3000-01-01T00:00:00Z": false} {
		if line(1, booked, at) == line(1) {
			t.Fatal("the row changes nothing")
		}
		if _, _, err := importInto(t, line(1, booked, at)); (err == nil) != ok {
			t.Errorf("booked at %s: error %v", at, err)
		}
	}
}
