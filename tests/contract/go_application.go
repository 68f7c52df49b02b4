package main

import (
	"encoding/json"
	"fmt"
	"os"
)

type Request struct {
	PluginRunID string                 `json:"plugin_run_id"`
	PluginName  string                 `json:"plugin_name"`
	UserID      uint64                 `json:"user_id"`
	Settings    map[string]interface{} `json:"settings"`
}

type Result struct {
	PluginRunID string `json:"plugin_run_id"`
	Status      string `json:"status"`
	Output      string `json:"output"`
	Error       string `json:"error"`
}

func main() {
	var in struct {
		Requests []json.RawMessage
		Results  []string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		panic(err)
	}
	out := map[string]interface{}{}
	var requests []string
	for _, raw := range in.Requests {
		var r Request
		if err := json.Unmarshal(raw, &r); err != nil {
			panic(err)
		}
		b, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		requests = append(requests, string(b))
	}
	var results []interface{}
	for _, text := range in.Results {
		var r Result
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			results = append(results, map[string]string{"go_error": err.Error()})
			continue
		}
		var output interface{}
		jsonb := r.Output == "" || json.Unmarshal([]byte(r.Output), &output) == nil
		results = append(results, map[string]interface{}{"read": r, "output_is_json": jsonb})
	}
	out["requests"] = requests
	out["results"] = results
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(out); err != nil {
		fmt.Println(err)
	}
}
