// Command backend is the backend of the examples. It answers with its name and
// with the request as it arrived.
package main

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	name := flag.String("name", "backend", "who to say that it is")
	listen := flag.String("listen", "127.0.0.1:18081", "host:port to serve on")
	flag.Parse()

	server := &http.Server{
		Addr:              *listen,
		Handler:           handler(*name),
		ReadHeaderTimeout: 5 * time.Second,
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", *name, server.ListenAndServe())
	os.Exit(1) //nolint:forbidigo // this is main
}

func handler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "Hello from %s.\n\n%s %s %s\nHost: %s\n", name, r.Method, r.RequestURI, r.Proto, r.Host)
		for _, header := range slices.Sorted(maps.Keys(r.Header)) {
			fmt.Fprintf(w, "%s: %s\n", header, strings.Join(r.Header[header], ", "))
		}
	})
}
