//go:build race

package client_test

// many is as many goroutines as the race detector bears beside the test's own.
const many = 3000
