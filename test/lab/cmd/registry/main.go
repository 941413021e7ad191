// Command registry runs on a machine of a lab. It is a private registry: it keeps images
// and charts in a folder, and answers 401 to everybody who does not give its user and its
// password. It logs every request.
//
//	REGISTRY_PASSWORD=... registry --user USER --folder FOLDER [--listen :5000]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1) //nolint:gocritic,forbidigo // this is main
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	listen := flags.String("listen", ":5000", "address")
	folder := flags.String("folder", "", "where layers are kept; it is made")
	user := flags.String("user", "", "who may push and pull")
	if err := flags.Parse(args); err != nil {
		return err
	}
	password := os.Getenv("REGISTRY_PASSWORD")
	if *folder == "" || *user == "" || password == "" {
		return errors.New("give --folder, --user, and $REGISTRY_PASSWORD")
	}
	if err := os.MkdirAll(*folder, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	keeps := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(*folder)), registry.Logger(log.New(io.Discard, "", 0)))
	server := &http.Server{Addr: *listen, Handler: private(keeps, *user, password, os.Stdout), ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // makes ListenAndServe return
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// refusal is the answer to strangers, in the form of the distribution specification.
const refusal = `{"errors":[{"code":"UNAUTHORIZED","message":"user or password is wrong"}]}`

// private admits one user to a handler, and says to said who asked for what.
func private(behind http.Handler, user, password string, said io.Writer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, given, _ := r.BasicAuth()
		admitted := name == user && given == password
		verdict := "admitted"
		if !admitted {
			verdict = "refused"
		}
		fmt.Fprintf(said, "%s %q at %s: %s %s\n", verdict, name, r.RemoteAddr, r.Method, r.URL.Path)
		if admitted {
			behind.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, refusal) // the client may be gone
	})
}
