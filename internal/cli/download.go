package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"hallmark.dev/hallmark/internal/azure"
)

// download copies what a blob URI of the endpoint names. A URI elsewhere is
// refused: the token would go there.
func (s *session) download(ctx context.Context, uri string, to io.Writer) error {
	path, ok := strings.CutPrefix(uri, s.Client.Endpoint()+"/")
	if !ok {
		return fmt.Errorf("%q is not below the endpoint %s; download it yourself", uri, s.Client.Endpoint())
	}
	return s.Stream(ctx, azure.Request{Method: "GET", Path: "/" + path}, to)
}

// downloadTo writes to a file that appears only when it is complete.
func (s *session) downloadTo(ctx context.Context, uri, file string) error {
	f, err := os.OpenFile(file+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	err = errors.Join(s.download(ctx, uri, f), f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("download to %s: %w", file, err)
	}
	return os.Rename(f.Name(), file)
}
