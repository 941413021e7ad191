// Package bench measures the whole ingress path, from the API server's answer to
// the first correct response of Envoy. It also measures other ingress controllers
// in the same run, and what a request costs Envoy. It asserts nothing about time;
// docs/benchmarks.md has its output and the machine.
package bench
