package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// transferPath is where the server takes any body, and answers with as many bytes as asked for.
const transferPath = "/transfer"

// The words of client and server about a transfer.
const (
	wantedHeader   = "Lab-Wanted"   // of a request: bytes of the answer
	receivedHeader = "Lab-Received" // of an answer: bytes of the request
)

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// serveTransfer takes the body, and answers with as many bytes as the client wants.
func serveTransfer(w http.ResponseWriter, r *http.Request) {
	received, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return // the client sees that its connection ends
	}
	wanted, err := strconv.ParseInt(r.Header.Get(wantedHeader), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set(receivedHeader, strconv.FormatInt(received, 10))
	w.Header().Set("Content-Length", strconv.FormatInt(wanted, 10))
	_, _ = io.CopyN(w, zeros{}, wanted) // the client counts
}

// transfer sends bytes to a server, gets bytes from it, and fails unless all arrive.
func transfer(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("transfer", flag.ContinueOnError)
	size := flags.Int64("bytes", 10_000_000, "bytes each way")
	within := flags.Duration("within", time.Minute, "how long it may take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("transfer: give the URL of a server")
	}
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, flags.Arg(0)+transferPath, io.LimitReader(zeros{}, *size))
	if err != nil {
		return err
	}
	request.ContentLength = *size
	request.Header.Set(wantedHeader, strconv.FormatInt(*size, 10))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("send %d bytes: %w", *size, err)
	}
	defer response.Body.Close()
	if got := response.Header.Get(receivedHeader); got != strconv.FormatInt(*size, 10) {
		return fmt.Errorf("send %d bytes: %s, %q arrived", *size, response.Status, got)
	}
	if got, err := io.Copy(io.Discard, response.Body); err != nil || got != *size {
		return fmt.Errorf("get %d bytes: %d came, %w", *size, got, err)
	}
	return nil
}
