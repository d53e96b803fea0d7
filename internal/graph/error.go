package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// graphError is an error as Microsoft Graph answers it.
type graphError struct {
	status        int
	code, message string
}

func (e *graphError) Error() string { return e.code + ": " + e.message }

func failure(status int, code, format string, args ...any) error {
	return &graphError{status, code, fmt.Sprintf(format, args...)}
}

// fail answers an error; what is not for clients goes to the log.
func (cfg Config) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *graphError
	if !errors.As(err, &e) {
		cfg.Log.ErrorContext(r.Context(), "graph request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		e = &graphError{500, "InternalServerError", "The server failed to complete the request. Its log has the reason."}
	}
	raw, _ := json.Marshal(map[string]any{"error": map[string]string{"code": e.code, "message": e.message}}) // two strings
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(e.status)
	_, _ = w.Write(raw)
}

func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}
