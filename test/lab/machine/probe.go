package machine

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// await returns when target answers. The target is a Unix socket
// ("unix:///run/x.sock") that accepts a connection, or a URL ("https://…") that
// answers 200.
func await(ctx context.Context, target string) {
	client := &http.Client{
		Timeout: time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the probe checks only that the server answers
		},
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for probe(ctx, client, target) != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func probe(ctx context.Context, client *http.Client, target string) error {
	at, err := url.Parse(target)
	if err != nil {
		return err
	}
	if at.Scheme == "unix" {
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", at.Path)
		if err != nil {
			return err
		}
		return connection.Close()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s", target, response.Status)
	}
	if closed := response.Body.Close(); err == nil {
		err = closed
	}
	return err
}
