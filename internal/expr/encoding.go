package expr

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"

	"hallmark.dev/hallmark/internal/expr/value"
)

var encodingTable = []Function{
	{Name: "base64", In: all, Min: 1, Max: 1, call: onText(encodeBase64)},
	{Name: "base64ToString", In: all, Min: 1, Max: 1, call: onTextOrFail(decodeBase64)},
	{Name: "base64ToJson", In: Policy | Deployment, Min: 1, Max: 1, call: base64ToJSON},
	{Name: "dataUri", In: all, Min: 1, Max: 1, call: onText(dataURI)},
	{Name: "dataUriToString", In: all, Min: 1, Max: 1, call: onTextOrFail(dataURIToString)},
	{Name: "uri", In: all, Min: 2, Max: 2, call: joinURI},
	{Name: "uriComponent", In: all, Min: 1, Max: 1, call: onText(escapeComponent)},
	{Name: "uriComponentToString", In: all, Min: 1, Max: 1, call: onTextOrFail(unescapeComponent)},
}

func onTextOrFail(f func(string) (string, error)) func([]Value) (Value, error) {
	return func(args []Value) (Value, error) {
		if args[0].Kind() != value.String {
			return Value{}, wrong(args, 0, "text")
		}
		s, err := f(args[0].Str())
		if err != nil {
			return Value{}, err
		}
		return text(s)
	}
}

func encodeBase64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func decodeBase64(s string) (string, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || !utf8.Valid(b) {
		return "", errors.New("the text is not UTF-8 text in base64")
	}
	return string(b), nil
}

func base64ToJSON(args []Value) (Value, error) {
	s, err := onTextOrFail(decodeBase64)(args)
	if err != nil {
		return Value{}, err
	}
	return parseJSON([]Value{s})
}

func dataURI(s string) string { return "data:text/plain;charset=utf8;base64," + encodeBase64(s) }

func dataURIToString(s string) (string, error) {
	at := strings.LastIndexByte(s, ',')
	if at < 0 || !strings.HasPrefix(s, "data:") {
		return "", errors.New("the text is not a data URI")
	}
	return decodeBase64(s[at+1:])
}

// joinURI appends to a base that ends with a slash, else replaces the last
// segment of the base's path; an absolute second argument wins.
func joinURI(args []Value) (Value, error) {
	if err := texts(args); err != nil {
		return Value{}, err
	}
	base, relative := args[0].Str(), args[1].Str()
	if u, err := url.Parse(relative); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return text(relative)
	}
	if strings.HasSuffix(base, "/") {
		return text(base + strings.TrimPrefix(relative, "/"))
	}
	host := strings.Index(base, "://")
	if host < 0 {
		return Value{}, wrong(args, 0, "an absolute URI")
	}
	path := strings.LastIndexByte(base[host+3:], '/')
	if path < 0 {
		return text(base + "/" + strings.TrimPrefix(relative, "/"))
	}
	return text(base[:host+3+path+1] + strings.TrimPrefix(relative, "/"))
}

// escapeComponent escapes all but the unreserved characters of RFC 3986.
func escapeComponent(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
	}
	return b.String()
}

func unescapeComponent(s string) (string, error) {
	t, err := url.PathUnescape(s)
	if err != nil || !utf8.ValidString(t) {
		return "", errors.New("the text has a percent sign without two hexadecimal digits, or is not UTF-8 when unescaped")
	}
	return t, nil
}
