package artifact

import (
	"errors"
	"net/http"
	"os"

	"hallmark.dev/hallmark/internal/arm"
)

// Handler serves the files under PathPrefix, with ranges, so that a download that
// broke off goes on. allow decides about each request, before it is known
// whether the file exists; its error is the answer.
func (s *Store) Handler(allow func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.serve(w, r, allow); err != nil {
			refuse(w, err)
		}
	})
}

func (s *Store) serve(w http.ResponseWriter, r *http.Request, allow func(*http.Request) error) error {
	if err := allow(r); err != nil {
		return err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return arm.Errorf(http.StatusMethodNotAllowed, arm.CodeMethodNotAllowed, "A blob can only be read (GET, HEAD).")
	}
	path, file, err := s.Resolve(r.URL.Path)
	if errors.Is(err, ErrNotBlob) || errors.Is(err, ErrNotFound) {
		return arm.Errorf(http.StatusNotFound, "BlobNotFound", "There is no such blob. Blobs are removed when nothing names them any more; export again.").Because(err)
	}
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "private, immutable")
	w.Header().Set("ETag", `"`+string(file.Digest)+`"`)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

func refuse(w http.ResponseWriter, err error) {
	e := arm.AsError(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_, _ = w.Write(e.MarshalEnvelope()) // a client that has gone needs no answer
}
