package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Sealed calls note with the key of each sealed secret of the configuration, and
// its text.
func (c *Config) Sealed(note func(key, sealed string)) {
	eachSealed(reflect.ValueOf(c).Elem(), "", note)
}

func eachSealed(v reflect.Value, key string, note func(key, sealed string)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachSealed(v.Elem(), key, note)
		}
	case reflect.Slice:
		for i := range v.Len() {
			one := v.Index(i)
			name := fmt.Sprintf("[%d]", i)
			if f := reflect.Indirect(one); f.Kind() == reflect.Struct {
				if n := f.FieldByName("Name"); n.IsValid() && n.Kind() == reflect.String && n.String() != "" {
					name = "." + n.String()
				}
			}
			eachSealed(one, key+name, note)
		}
	case reflect.Struct:
		if s, ok := v.Interface().(Secret); ok && s.Sealed != "" {
			note(strings.TrimPrefix(key, "."), s.Sealed)
		}
		for _, f := range fields(v.Type()) {
			eachSealed(v.FieldByIndex(f.Index), key+"."+f.Tag.Get("yaml"), note)
		}
	}
}
