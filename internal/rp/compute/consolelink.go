package compute

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// Clients fetch a console's log without a token, as they do from a storage account: the link says
// by itself whose log it is and until when. It is sealed, so nobody else can make one.

// ConsolePath is where such links point; a server mounts ConsoleHandler there.
const ConsolePath = "/serial-console/"

// linkLife is how long a link lasts unless asked for otherwise, in minutes, and linkMost the
// longest: Azure's.
const linkLife, linkMost = 120, 1440

type consoleLink struct {
	Machine string    `json:"machine"`
	Until   time.Time `json:"until"`
}

func (s *service) bootDiagnostics(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	d, err := vmOf(ctx, c)
	if err != nil {
		return nil, err
	}
	minutes := linkLife
	if text := queryOf(c, "sasUriExpirationTimeInMinutes"); text != "" {
		if minutes, err = strconv.Atoi(text); err != nil || minutes < 1 || minutes > linkMost {
			return nil, arm.BadRequest(arm.CodeInvalidParameter, "sasUriExpirationTimeInMinutes", "The life of the links is '%s' minutes; it must be 1 to %d.", text, linkMost)
		}
	}
	// There is no screenshot: machines here have a serial console only.
	uri := c.Request.BaseURL + (&url.URL{Path: d.ID}).EscapedPath() + "/serialConsoleLog?api-version=" + computeVersions[0]
	if s.Secrets != nil {
		_, p := readVM(d)
		link, err := s.consoleLink(consoleLink{p.Machine, c.Runtime.Now().Add(time.Duration(minutes) * time.Minute)})
		if err != nil {
			return nil, err
		}
		uri = c.Request.BaseURL + link
	}
	return provider.JSON(http.StatusOK, map[string]string{"serialConsoleLogBlobUri": uri})
}

func (s *service) consoleLink(l consoleLink) (string, error) {
	plain, err := json.Marshal(l)
	if err != nil {
		return "", err
	}
	sealed, err := s.Secrets.Seal(plain)
	return ConsolePath + "log?sig=" + base64.RawURLEncoding.EncodeToString(sealed), err // a query is not logged
}

// ConsoleHandler serves the links that retrieveBootDiagnosticsData gives out.
func ConsoleHandler(cfg Config, now func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l, ok := openLink(cfg.Secrets, r.URL.Query().Get("sig"))
		if !ok || now().After(l.Until) {
			refuseLink(w, arm.Errorf(http.StatusForbidden, "AuthenticationFailed", "The link is not one that this server made, or it has expired. Ask for a new one (retrieveBootDiagnosticsData)."))
			return
		}
		text, err := cfg.Machines.Console(l.Machine, maxConsole)
		if err != nil {
			refuseLink(w, arm.AsError(err))
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(bytes.ToValidUTF8(text, []byte("\uFFFD"))) // who does not read it has gone
	})
}

func openLink(s Sealer, text string) (l consoleLink, ok bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || s == nil || len(sealed) == 0 {
		return l, false
	}
	plain, err := s.Open(sealed)
	return l, err == nil && json.Unmarshal(plain, &l) == nil && l.Machine != ""
}

func refuseLink(w http.ResponseWriter, e *arm.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_, _ = w.Write(e.MarshalEnvelope())
}
