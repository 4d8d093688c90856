// A client of an exported model: text in, text out, with LibTorch alone. docs/deployment.md tells how it is used.
#include <ATen/Parallel.h>  // these four, not torch/script.h: a third less to compile
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <unistd.h>
#include <cstdlib>

#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "manifest.h"
#include "sha256.h"

namespace fs = std::filesystem;
const char* const USAGE = "usage: chatbot FILE [--nbest N] [--threads N], each N from 1 to 1000";
constexpr size_t KEPT = 1 << 20;  // bytes of a line: the model reads its last 10,000 code points, 40,000 bytes at most

using Mistake = std::runtime_error;

// Whether a code point would steer a terminal, or turn its text round: those of system/errors.py.
bool steers(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e || code == 0x200f ||
         (code >= 0x2028 && code < 0x202f) || (code >= 0x2066 && code < 0x206a) || (code >= 0xd800 && code < 0xe000);
}

// Text as one line that a terminal shows as text: what would steer it is spelt out, as is a byte that is no UTF-8.
std::string printable(const std::string& text) {
  std::ostringstream out;
  const auto spelt = [&](char kind, uint32_t code, int digits) {
    if (code == '\n' || code == '\r' || code == '\t')
      out << '\\' << (code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    else
      out << '\\' << kind << std::hex << std::setw(digits) << std::setfill('0') << code;
  };
  for (size_t i = 0, size = 1; i < text.size(); i += size) {
    const auto at = [&](size_t k) { return static_cast<unsigned char>(i + k < text.size() ? text[i + k] : 0); };
    uint32_t code = at(0);
    size = code < 0x80 ? 1 : code >= 0xc2 && code < 0xe0 ? 2 : code >= 0xe0 && code < 0xf0 ? 3 : code >= 0xf0 && code < 0xf5 ? 4 : 0;
    if (size > 1) code &= 0x7f >> size;
    for (size_t k = 1; k < size; ++k) {
      if ((at(k) & 0xc0) != 0x80) {
        size = 0;
        break;
      }
      code = code << 6 | (at(k) & 0x3f);
    }
    if (size == 0 || (size == 3 && code < 0x800) || (size == 4 && (code < 0x10000 || code > 0x10ffff)))
      spelt('u', 0xdc00 | at(0), 4), size = 1;  // as Python has such bytes in the names of files
    else if (steers(code))
      spelt(code < 0x100 ? 'x' : 'u', code, code < 0x100 ? 2 : 4);
    else
      out << text.substr(i, size);
  }
  return out.str();
}

// The next line without its end; of a long one the last bytes, so that none takes more memory. False: no more lines.
bool read_line(std::streambuf& in, std::string& line) {
  line.clear();
  int c = in.sbumpc();
  const bool found = c != EOF;
  for (; c != EOF && c != '\n'; line += static_cast<char>(c), c = in.sbumpc())
    if (line.size() == 2 * KEPT) line.erase(0, KEPT);
  return found;
}

bool leaves(const std::string& line) {
  std::string word, more;
  std::istringstream words(line);
  words >> word >> more;
  for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return more.empty() && (word == "quit" || word == "q" || word == "/quit");
}

// The model of a file. TorchScript is code: its bytes are compared with the manifest beside it before it is opened.
torch::jit::Module load(fs::path path) {
  if (fs::is_directory(path)) path /= "chatbot.pt";
  std::ifstream file;
  if (fs::is_regular_file(path)) file.open(path, std::ios::binary);
  if (!file.is_open()) throw Mistake("cannot read " + printable(path.string()) + "; make export writes one");
  if (const auto beside = fs::path(path).replace_filename("manifest.json"); fs::exists(beside)) {
    std::ostringstream manifest;
    if (fs::is_regular_file(fs::symlink_status(beside)) && fs::file_size(beside) <= 4 << 20) manifest << std::ifstream(beside, std::ios::binary).rdbuf();  // 0.1 MB
    if (json_value(manifest.str(), {"format"}) != "1")
      throw Mistake("the manifest " + beside.string() + " is damaged or of another format: export again");
    if (json_value(manifest.str(), {"files", path.filename().string(), "sha256"}) != '"' + sha256::digest(file) + '"')
      throw Mistake(path.string() + " is not the file that its manifest describes (SHA-256 differs): export again");
    file.clear(), file.seekg(0);  // the same open file is read again: no other can take its place between
  }
  try {
    auto model = torch::jit::load(file, c10::kCPU);
    const auto format = json_value(model.get_method("metadata")({}).toStringRef(), {"bundle_format"});
    if (format == "3" || format == "2") return model;
  } catch (const std::exception&) {  // what torch says here is many lines about the inside of torch
    throw Mistake(path.string() + " is damaged, or not what make export writes: export again");
  }
  throw Mistake(path.string() + " has another bundle format than this program reads: export again");
}

// What was said in a terminal so far: the network reads some of it, and each turn has a seed of its own.
struct Talk {
  c10::List<std::string> earlier;
  int64_t turn = 0;
};

// The reply to one line: alone, or in a conversation.
std::string reply(torch::jit::Module& model, const std::string& line, Talk* talk) {
  if (!talk || !model.find_method("reply_to")) return model.get_method("reply")({line}).toStringRef();
  const auto said = model.get_method("reply_to")({line, talk->earlier, talk->turn++}).toStringRef();
  if (said.empty()) return said;
  talk->earlier.push_back(line), talk->earlier.push_back(said);
  if (talk->earlier.size() > 64) talk->earlier.erase(talk->earlier.begin());  // no network reads so many
  return said;
}

// The answer to one line as it is printed: the reply; or of `count` > 0 the best ones, each after its score and a tab,
// and an empty line after the last.
std::string answer(torch::jit::Module& model, const std::string& line, int64_t count, Talk* talk) {
  if (count == 0) return printable(reply(model, line, talk)) + '\n';
  const c10::IValue found = model.get_method("reply_nbest")({line, count});
  std::ostringstream out;
  for (const c10::IValue& row : found.toListRef()) {
    const auto& fields = row.toTupleRef().elements();  // reply, log-probability in nats
    out << std::fixed << std::setprecision(4) << fields[1].toDouble() << '\t';
    out << printable(fields[0].toStringRef()) << '\n';
  }
  return out.str() + '\n';
}

int main(int count, char** words) try {
  setenv("THP_MEM_ALLOC_ENABLE", "1", 0);  // pages of 2 MB for large tensors, before torch asks for the first
  std::string path;
  int nbest = 0, threads = 1;  // one: a pool that spins beside a busy neighbour is slower than a thread alone
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i], next = i + 1 < count ? words[i + 1] : "";
    if (word == "--nbest" || word == "--threads") {
      const bool digits = !next.empty() && next.size() <= 4 && next.find_first_not_of("0123456789") == next.npos;
      const int number = (word == "--nbest" ? nbest : threads) = digits ? std::stoi(words[++i]) : 0;
      if (number < 1 || number > 1000) throw Mistake(USAGE);
    } else if (path.empty() && !word.empty() && word[0] != '-') {
      path = word;
    } else {
      throw Mistake(USAGE);
    }
  }
  if (path.empty()) throw Mistake(USAGE);

  at::set_num_threads(threads);
  torch::jit::setGraphExecutorOptimize(false);  // profiling makes the first replies slow and the later ones no faster
  const c10::InferenceMode no_gradients;
  auto model = load(path);
  const bool talks = isatty(STDIN_FILENO);  // a pipe's lines have nothing to do with each other
  Talk talk;
  std::string line;
  while (std::cerr << (talks ? "> " : "") << std::flush, read_line(*std::cin.rdbuf(), line) && !leaves(line)) {
    if (talks && line == "/reset")
      talk = Talk();
    else if (!(std::cout << answer(model, line, nbest, talks ? &talk : nullptr) << std::flush))
      throw Mistake("cannot write the reply");
  }
  return 0;
} catch (const std::exception& error) {
  const std::string what = error.what();  // of torch many lines: the first says what, the others where
  std::cerr << "chatbot: " << printable(what.substr(0, what.find('\n'))) << std::endl;
  return 2;
}
