// Package pebble pins Pebble, the certificate authority of Let's Encrypt for
// tests, and its DNS server. It has no code of its own: "go build" in this module
// builds the commands.
package pebble
