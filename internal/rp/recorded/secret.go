package recorded

import (
	"bytes"
	"encoding/json"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// writeOnly are properties that Azure takes and never shows, at any depth and of any
// type. Nothing here needs them, so they are not kept.
var writeOnly = map[string]bool{
	"adminpassword": true, "administratorloginpassword": true, "administratorpassword": true, "password": true, "passwd": true, "pwd": true,
	"protectedsettings": true, "protectedparameters": true, "clientsecret": true, "secret": true, "secretvalue": true, "sharedkey": true,
	"authorizationkey": true, "accesskey": true, "primarykey": true, "secondarykey": true, "primaryconnectionstring": true, "secondaryconnectionstring": true,
	"connectionstring": true, "storageaccountkey": true, "storageaccountaccesskey": true, "apikey": true, "privatekey": true, "customdata": true,
	"sastoken": true, "saskey": true, "radiusserversecret": true, "azurefileaccountkey": true, "certificatepassword": true, "publishingpassword": true,
}

// writeOnlyOf are further ones of some types.
var writeOnlyOf = map[string]string{
	"microsoft.keyvault/vaults/secrets": "properties.value",
	"microsoft.web/sites/config":        "properties",
	"microsoft.web/sites/slots/config":  "properties",
}

// forget drops what is write-only.
func forget(w *provider.Write) error {
	if path := writeOnlyOf[w.ID.Type().Key()]; path != "" {
		w.Doc.Body = arm.Remove(w.Doc.Body, path)
	}
	if kept, dropped := without(w.Doc.Body); dropped {
		w.Doc.Body = kept
	}
	return nil
}

// without is a value less the write-only properties in it; it is left as it is when
// there are none.
func without(raw json.RawMessage) (json.RawMessage, bool) {
	switch first := bytes.TrimLeft(raw, " \t\r\n"); {
	case len(first) == 0:
		return raw, false
	case first[0] == '{':
		return members(raw)
	case first[0] == '[':
		return array(raw)
	}
	return raw, false
}

func members(raw json.RawMessage) (json.RawMessage, bool) {
	var b bytes.Buffer
	dropped := false
	b.WriteByte('{')
	err := arm.EachMember(raw, func(name string, v json.RawMessage) {
		if writeOnly[strings.ToLower(name)] {
			dropped = true
			return
		}
		kept, some := without(v)
		dropped = dropped || some
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		quoted, _ := json.Marshal(name) // a string: cannot fail
		b.Write(quoted)
		b.WriteByte(':')
		b.Write(kept)
	})
	if err != nil || !dropped {
		return raw, false
	}
	b.WriteByte('}')
	return b.Bytes(), true
}

func array(raw json.RawMessage) (json.RawMessage, bool) {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return raw, false
	}
	dropped := false
	for i := range items {
		kept, some := without(items[i])
		items[i], dropped = kept, dropped || some
	}
	if !dropped {
		return raw, false
	}
	out, err := json.Marshal(items)
	return out, err == nil
}
