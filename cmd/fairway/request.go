package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// requestSettings are the settings of fairway request.
type requestSettings struct {
	Host   string
	Status int
	Server string
	Retry  time.Duration
}

func requestCommand(std streams) *cobra.Command {
	s := &requestSettings{}
	cmd := &cobra.Command{
		Use:   "request URL",
		Short: "Send one HTTP request, and say whether the answer is the expected one",
		Long: `Request sends a GET request to an address and prints the status of the answer. It
follows no redirects. "helm test" runs it, because the image has no other program
that could.

Exit code: 0 when the answer is the expected one, 1 when it is not.`,
		Args: wants("one URL", cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := url.Parse(args[0])
			if err != nil || (at.Scheme != "http" && at.Scheme != "https") || at.Host == "" {
				return usage(fmt.Errorf("%q is not a URL that begins with http:// or https://", args[0]))
			}
			return s.run(cmd.Context(), std, at)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.Host, "host", "", "`name` for the header Host; by default the URL's")
	flags.IntVar(&s.Status, "expect-status", 0, "expected `code` of the answer; 0: any")
	flags.StringVar(&s.Server, "expect-server", "", "expected `text` of the answer's header Server; empty: any")
	flags.DurationVar(&s.Retry, "retry", 0, "how long to try again after another answer, or none")
	return cmd
}

func (s *requestSettings) run(ctx context.Context, std streams, at *url.URL) error {
	deadline := time.Now().Add(s.Retry)
	for {
		began := time.Now()
		answer, err := s.ask(ctx, at)
		if err == nil {
			_, err = fmt.Fprintf(std.Out, "%s: %s after %s\n", at, answer, time.Since(began).Round(time.Millisecond))
			return err
		}
		if time.Until(deadline) <= 0 || ctx.Err() != nil {
			return err
		}
		fmt.Fprintln(std.Err, err)
		select {
		case <-ctx.Done():
		case <-time.After(min(time.Second, time.Until(deadline))):
		}
	}
}

// ask sends the request once, and returns what came back if it is what was expected.
func (s *requestSettings) ask(ctx context.Context, at *url.URL) (string, error) {
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return "", err
	}
	request.Host = s.Host
	transport := &http.Transport{DisableKeepAlives: true} // without the proxies of the environment
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", at, err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", at, err)
	}
	server := response.Header.Get("Server")
	answer := fmt.Sprintf("%s, Server %q", response.Status, server)
	if s.Status != 0 && response.StatusCode != s.Status {
		return "", fmt.Errorf("%s answered %s; expected was %d", at, answer, s.Status)
	}
	if s.Server != "" && server != s.Server {
		return "", fmt.Errorf("%s answered %s; expected was Server %q: something else answers there", at, answer, s.Server)
	}
	return answer, nil
}
