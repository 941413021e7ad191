// Package enforce keeps the policies of one node in the kernel, and cuts connections that they no longer
// allow.
//
//	objects --Publish...--> policy.Book --Take--> one batch --commit--> tables
//	                                      \--Touched--> conntrack --Judge--> cut, and forgotten
//
// Nothing is written before everything was told once, so that a start opens and closes nothing. A pod of
// the node is kept as long as it has a lease, whatever the API server says: it may still run.
package enforce
