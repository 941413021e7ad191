// Package acme runs a real certificate authority for tests: Pebble, and a DNS
// server whose records a test chooses. Pebble validates names as any authority
// does, but at ports that the test chooses. It refuses half of all good nonces. A
// test can also set when Pebble suggests to renew.
//
//	authority := acme.Start(t, acme.Options{HTTPPort: port})
//	authority.SetAddresses(t, "shop.test", "127.0.0.1")
//	order(authority.Directory, authority.CA)
//
// Every authority has its own ports, keys and folder, so any number can run side
// by side. It dies with the test process, however that ends.
package acme
