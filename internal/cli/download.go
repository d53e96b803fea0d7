package cli

import (
	"context"
	"fmt"
	"io"
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
