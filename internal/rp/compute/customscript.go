package compute

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/shellword"
)

// handler is what acts on extensions of one publisher and type.
type handler struct {
	publisher, name string
	versions        []string // newest last
	// dir is the handler's folder in the guest; it goes when the extension is deleted.
	dir string
	// compose makes the script that is run; everything that is wrong is reported.
	compose func(settings, protected json.RawMessage) (string, []*arm.Error)
}

// handlers are the extensions that act. All others are refused: a recorded extension would
// claim an agent that nobody has installed.
var handlers = []handler{
	{"Microsoft.Azure.Extensions", "CustomScript", []string{"2.0", "2.1"}, "/var/lib/waagent/custom-script", composeCustomScript},
	{"Microsoft.OSTCExtensions", "CustomScriptForLinux", []string{"1.5"}, "/var/lib/waagent/custom-script-for-linux", composeCustomScript},
	{"Microsoft.CPlat.Core", "RunCommandLinux", []string{"1.0"}, "/var/lib/waagent/run-command", composeRunCommandLinux},
	{"Microsoft.OSTCExtensions", "VMAccessForLinux", []string{"1.4", "1.5"}, "/var/lib/waagent/vm-access", composeAccess},
}

func handlerOf(publisher, name string) (handler, bool) {
	for _, h := range handlers {
		if strings.EqualFold(h.publisher, publisher) && strings.EqualFold(h.name, name) {
			return h, true
		}
	}
	return handler{}, false
}

func handlerNames() string {
	var names []string
	for _, h := range handlers {
		names = append(names, h.publisher+"/"+h.name)
	}
	return strings.Join(names, ", ")
}

// customScript are CustomScript's settings, public and protected.
// Source: Azure's "Use the Azure Custom Script Extension Version 2 with Linux virtual machines".
type customScript struct {
	CommandToExecute   string
	Script             string // base64, gzip or not
	FileURIs           []string
	StorageAccountName string
	StorageAccountKey  string
	ManagedIdentity    json.RawMessage
}

const (
	atSettings  = "properties.settings"
	atProtected = "properties.protectedSettings"
	maxScript   = 256 << 10 // of base64: Azure's limit
)

func composeCustomScript(settings, protected json.RawMessage) (string, []*arm.Error) {
	var errs []*arm.Error
	open, err := readSettings[customScript](settings, atSettings)
	errs = append(errs, err...)
	hidden, err := readSettings[customScript](protected, atProtected)
	errs = append(errs, err...)
	if len(errs) > 0 {
		return "", errs
	}
	var b strings.Builder
	for i, uri := range append(open.FileURIs, hidden.FileURIs...) {
		line, err := download(uri, i)
		errs = append(errs, err...)
		b.WriteString(line)
	}
	line, err := whatToRun(open, hidden)
	return b.String() + line, append(errs, err...)
}

func readSettings[T any](raw json.RawMessage, at string) (t T, errs []*arm.Error) {
	if len(raw) == 0 || string(raw) == "null" {
		return t, nil
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at, "The settings cannot be read: %v.", hideValues(err)))
	}
	return t, errs
}

// hideValues keeps what a JSON error quotes out of answers: it may be a secret.
func hideValues(err error) string {
	if t, ok := err.(*json.UnmarshalTypeError); ok { //nolint:errorlint // json returns it as it is
		return fmt.Sprintf("%s is a %s, not a %s", t.Field, strings.Fields(t.Value + " ?")[0], t.Type)
	}
	return "they are not the JSON that this extension takes"
}

func whatToRun(open, hidden customScript) (string, []*arm.Error) {
	var errs []*arm.Error
	wrong := func(at, format string, arguments ...any) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at, format, arguments...))
	}
	command, at := open.CommandToExecute, atSettings
	if hidden.CommandToExecute != "" {
		if command != "" {
			wrong(atProtected+".commandToExecute", "commandToExecute was specified both in settings and protectedSettings; it must be in one of them.")
		}
		command, at = hidden.CommandToExecute, atProtected
	}
	script := open.Script
	if hidden.Script != "" {
		script, at = hidden.Script, atProtected
	}
	if open.StorageAccountName+hidden.StorageAccountName+hidden.StorageAccountKey != "" || len(hidden.ManagedIdentity) > 0 {
		wrong(atProtected, "Files from a storage account (storageAccountName, storageAccountKey, managedIdentity) are not supported here; give fileUris that the machine can read as they are.")
	}
	switch {
	case command == "" && script == "":
		wrong(at+".commandToExecute", "Either commandToExecute or script must be specified.")
	case command != "" && script != "":
		wrong(at+".script", "commandToExecute and script were both specified; there must be one of them.")
	case script != "":
		text, err := unpackScript(script)
		if err != nil {
			wrong(at+".script", "The script cannot be used: %v.", err)
		}
		return "base64 -d >script.sh <<'HALLMARK-SCRIPT' && chmod 700 script.sh && exec ./script.sh\n" + base64.StdEncoding.EncodeToString(text) + "\nHALLMARK-SCRIPT\n", errs
	}
	return "exec /bin/sh -c " + shellword.Quote(command) + "\n", errs
}

// unpackScript reads base64 of a script or of a gzipped one.
func unpackScript(text string) ([]byte, error) {
	if len(text) > maxScript {
		return nil, fmt.Errorf("it has %d characters, and may have %d", len(text), maxScript)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("it is not base64") //nolint:perfsprint // the inner error quotes nothing useful
	}
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		if raw, err = io.ReadAll(io.LimitReader(z, 4*maxScript)); err != nil {
			return nil, err
		}
	}
	if !bytes.HasPrefix(raw, []byte("#!")) {
		raw = append([]byte("#!/bin/sh\n"), raw...)
	}
	return raw, nil
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// download fetches a file with what the guest has.
func download(uri string, i int) (string, []*arm.Error) {
	u, err := url.Parse(uri)
	at := fmt.Sprintf("%s.fileUris[%d]", atSettings, i)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at, "A file's address must be an http or https URL.")}
	}
	name := path.Base(u.Path)
	if !fileName.MatchString(name) || name == "." || name == ".." {
		return "", []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at, "The address does not end in the name of a file.")}
	}
	return fmt.Sprintf(`u=%s n=%s
if command -v curl >/dev/null; then curl -fsSL --retry 3 -o "$n" -- "$u"
elif command -v wget >/dev/null; then wget -q -O "$n" -- "$u"
else python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' "$u" "$n"
fi || { echo "failed to download file[%d] ($n)" >&2; exit 52; }
`, shellword.Quote(uri), shellword.Quote(name), i), nil
}

// composeRunCommandLinux is the extension that Azure's own run commands are made of.
func composeRunCommandLinux(settings, protected json.RawMessage) (string, []*arm.Error) {
	type command struct {
		Source           struct{ Script, ScriptURI string }
		Script           []string
		CommandToExecute string
	}
	in, errs := readSettings[command](settings, atSettings)
	hidden, err := readSettings[command](protected, atProtected)
	if errs = append(errs, err...); len(errs) > 0 {
		return "", errs
	}
	for _, c := range []command{hidden, in} {
		switch {
		case len(c.Script) > 0:
			return strings.Join(c.Script, "\n") + "\n", nil
		case c.Source.Script != "":
			return c.Source.Script + "\n", nil
		case c.CommandToExecute != "":
			return c.CommandToExecute + "\n", nil
		}
	}
	return "", []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, atSettings, "The command has no script.")}
}
