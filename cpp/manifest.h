// What the client reads of JSON: one value by its keys. Enough for manifest.json and a bundle's metadata.
#pragma once

#include <string>
#include <vector>

// The number or string (with its quotes, escapes left as they stand) at a path of keys; "" if there is none. Of a key
// that stands twice the last counts, as in Python. Keys are found by nesting, not by searching: a text may quote one.
inline std::string json_value(const std::string& json, const std::vector<std::string>& path) {
  std::vector<std::string> keys;  // the key we are at in each object that is open; "" in a list
  std::string found;
  for (size_t at = 0, end; at < json.size(); at = end) {
    end = at + 1;
    const char c = json[at];
    if (c == '{' || c == '[') {
      keys.emplace_back();
    } else if (c == '}' || c == ']') {
      if (!keys.empty()) keys.pop_back();
    } else if (c == '"') {
      while (end < json.size() && json[end] != '"') end += json[end] == '\\' ? 2 : 1;
      end = end < json.size() ? end + 1 : json.size();
      const size_t after = json.find_first_not_of(" \t\r\n", end);
      if (!keys.empty() && after != std::string::npos && json[after] == ':')
        keys.back() = json.substr(at + 1, end - at - 2);
      else if (keys == path)
        found = json.substr(at, end - at);
    } else if (c != ':' && c != ',' && c != ' ' && c != '\t' && c != '\r' && c != '\n') {
      end = json.find_first_of(",]} \t\r\n", at);
      if (end == std::string::npos) end = json.size();
      if (keys == path) found = json.substr(at, end - at);
    }
  }
  return found;
}
