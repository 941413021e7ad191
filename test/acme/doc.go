// Package acme runs a real certificate authority for tests: Pebble, and a DNS
// server whose records a test chooses. Pebble looks at names as any authority
// does, but at ports that the test gives it; refuses half of all good nonces;
// and lets its suggestions of when to renew be set.
//
//	authority := acme.Start(t, acme.Options{HTTPPort: port})
//	authority.SetAddresses(t, "shop.test", "127.0.0.1")
//	order(authority.Directory, authority.CA)
//
// Every authority has ports, keys and a folder of its own, so any number run
// side by side. It dies with the test process, however that ends.
package acme
