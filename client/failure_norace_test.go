//go:build !race

package client_test

const many = 10_000
