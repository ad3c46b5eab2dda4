// SPDX-License-Identifier: Apache-2.0

// Renders a Helm chart's templates as `helm template` does, with the libraries that Helm is made
// of (Go's text/template, sprig, sigs.k8s.io/yaml, gojsonschema), because Debian has no Helm.
//
//	render CHART '{"values": {...}, "namespace": "...", "apiVersions": ["policy/v1", ...]}'
//
// Prints {"FILE": "TEXT"} for every template. Knows what this project's chart uses: no hooks, no
// dependencies, no `lookup` and no files; text/template ends with an error at what it does not know.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"github.com/xeipuuv/gojsonschema"
	"sigs.k8s.io/yaml"
)

type request struct {
	Values      map[string]interface{} `json:"values"`
	Namespace   string                 `json:"namespace"`
	APIVersions []string               `json:"apiVersions"`
}

type versions []string

// Has is what templates call: .Capabilities.APIVersions.Has "policy/v1".
func (v versions) Has(name string) bool {
	for _, known := range v {
		if known == name {
			return true
		}
	}
	return false
}

func readYaml(path string) (map[string]interface{}, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	result := map[string]interface{}{}
	return result, yaml.Unmarshal(text, &result)
}

// As Helm merges: maps by key, null removes, all else is replaced.
func merge(into, over map[string]interface{}) {
	for key, value := range over {
		below, isMap := value.(map[string]interface{})
		old, wasMap := into[key].(map[string]interface{})
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(old, below)
		default:
			into[key] = value
		}
	}
}

func checkSchema(chart string, values map[string]interface{}) error {
	schema, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		return err
	}
	result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(schema), gojsonschema.NewGoLoader(values))
	if err != nil {
		return err
	}
	if result.Valid() {
		return nil
	}
	text := "values don't meet the specifications of the schema:"
	for _, problem := range result.Errors() {
		text += "\n- " + problem.String()
	}
	return fmt.Errorf("%s", text)
}

func parse(chart string) (*template.Template, []string, error) {
	functions := sprig.TxtFuncMap()
	functions["toYaml"] = func(value interface{}) string {
		text, err := yaml.Marshal(value)
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(string(text), "\n")
	}
	all := template.New("").Option("missingkey=zero").Funcs(functions)
	paths, err := filepath.Glob(filepath.Join(chart, "templates", "*.yaml"))
	if err != nil {
		return nil, nil, err
	}
	names := []string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		names = append(names, filepath.Base(path))
		if _, err := all.New(filepath.Base(path)).Parse(string(text)); err != nil {
			return nil, nil, err
		}
	}
	return all, names, nil
}

func render(chart string, asked request) (map[string]string, error) {
	about, err := readYaml(filepath.Join(chart, "Chart.yaml"))
	if err != nil {
		return nil, err
	}
	values, err := readYaml(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return nil, err
	}
	merge(values, asked.Values)
	if err := checkSchema(chart, values); err != nil {
		return nil, err
	}
	all, names, err := parse(chart)
	if err != nil {
		return nil, err
	}
	root := map[string]interface{}{
		"Values":       values,
		"Chart":        map[string]interface{}{"Name": about["name"], "AppVersion": about["appVersion"]},
		"Release":      map[string]interface{}{"Name": "sluice", "Namespace": asked.Namespace},
		"Capabilities": map[string]interface{}{"APIVersions": versions(asked.APIVersions)},
	}
	result := map[string]string{}
	for _, name := range names {
		var text bytes.Buffer
		if err := all.ExecuteTemplate(&text, name, root); err != nil {
			return nil, err
		}
		// Helm takes away what a map has no key for as well.
		result[name] = strings.ReplaceAll(text.String(), "<no value>", "")
	}
	return result, nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: render CHART REQUEST")
		os.Exit(2)
	}
	var asked request
	err := json.Unmarshal([]byte(os.Args[2]), &asked)
	var texts map[string]string
	if err == nil {
		texts, err = render(os.Args[1], asked)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(texts); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}
