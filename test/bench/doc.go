// Package bench measures the whole ingress road, from the API server's answer
// to the first right response of Envoy; other ingress controllers beside it, in
// the same run; and what a request costs Envoy. It asserts nothing about time;
// what it printed, and on which machine, stands in docs/benchmarks.md.
package bench
