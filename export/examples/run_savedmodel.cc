// Runs requests through an exported sampler, from C++.
//
//   run_savedmodel MODEL_DIR REQUESTS_DIR
//
// Takes the steps of TensorFlow Serving's predict path: LoadSavedModel, then for each
// request saved_model::GetInputValues, which adds the signature's defaults, and
// Session::Run.
//
// REQUESTS_DIR holds one folder per request, named <anything>.<signature>, with a file
// <input>.pb, a serialized tensorflow.TensorProto, per input. They are run in the order
// of their names. The outputs are written beside the inputs as <output>.out.pb; what a
// request was refused for is written to error.txt, and the next one is run.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/cc/saved_model/util.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/protobuf/meta_graph.pb.h"
#include "tensorflow/core/public/session.h"

namespace fs = std::filesystem;

using Inputs = google::protobuf::Map<std::string, tensorflow::TensorProto>;

std::string ReadFile(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

void WriteFile(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// Reads the inputs of one request.
tensorflow::Status ReadInputs(const fs::path& folder, Inputs* inputs) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string ending = ".pb";
    const std::string of_output = ".out.pb";
    if (name.size() <= ending.size() ||
        name.substr(name.size() - ending.size()) != ending) {
      continue;
    }
    if (name.size() > of_output.size() &&
        name.substr(name.size() - of_output.size()) == of_output) {
      continue;
    }
    auto& proto = (*inputs)[name.substr(0, name.size() - ending.size())];
    if (!proto.ParseFromString(ReadFile(entry.path()))) {
      return tensorflow::errors::InvalidArgument(entry.path().string(),
                                                 ": wanted a TensorProto");
    }
  }
  return tensorflow::OkStatus();
}

// Runs one request and writes its outputs.
tensorflow::Status RunRequest(const tensorflow::SavedModelBundle& bundle,
                              const fs::path& folder) {
  const auto& signatures = bundle.GetSignatures();
  const std::string name = folder.extension().string().substr(1);
  const auto found = signatures.find(name);
  if (found == signatures.end()) {
    return tensorflow::errors::NotFound("no signature ", name);
  }
  const tensorflow::SignatureDef& signature = found->second;

  Inputs given;
  TF_RETURN_IF_ERROR(ReadInputs(folder, &given));
  std::vector<std::pair<std::string, tensorflow::Tensor>> inputs;
  TF_RETURN_IF_ERROR(
      tensorflow::saved_model::GetInputValues(signature, given, inputs));
  std::vector<std::string> fetched;
  for (const auto& output : signature.outputs()) {
    fetched.push_back(output.second.name());
  }

  std::vector<tensorflow::Tensor> outputs;
  const auto start = std::chrono::steady_clock::now();
  TF_RETURN_IF_ERROR(bundle.GetSession()->Run(inputs, fetched, {}, &outputs));
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  std::cout << folder.filename().string() << " " << elapsed.count() << " ms"
            << std::endl;

  size_t index = 0;
  for (const auto& output : signature.outputs()) {
    const tensorflow::Tensor& tensor = outputs[index++];
    tensorflow::TensorProto proto;
    // Python cannot read strings from the packed form.
    if (tensor.dtype() == tensorflow::DT_STRING) {
      tensor.AsProtoField(&proto);
    } else {
      tensor.AsProtoTensorContent(&proto);
    }
    WriteFile(folder / (output.first + ".out.pb"), proto.SerializeAsString());
  }
  return tensorflow::OkStatus();
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: run_savedmodel MODEL_DIR REQUESTS_DIR" << std::endl;
    return 2;
  }
  tensorflow::SavedModelBundle bundle;
  const tensorflow::Status loaded = tensorflow::LoadSavedModel(
      tensorflow::SessionOptions(), tensorflow::RunOptions(), argv[1],
      {"serve"}, &bundle);
  if (!loaded.ok()) {
    std::cerr << "error: " << loaded << std::endl;
    return 1;
  }

  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(argv[2])) {
    if (entry.is_directory() && entry.path().has_extension()) {
      folders.push_back(entry.path());
    }
  }
  std::sort(folders.begin(), folders.end());
  for (const auto& folder : folders) {
    const tensorflow::Status status = RunRequest(bundle, folder);
    if (!status.ok()) {
      const std::string words = status.ToString();
      WriteFile(folder / "error.txt", words);
      std::cout << folder.filename().string() << " "
                << words.substr(0, words.find('\n')) << std::endl;
    }
  }
  return 0;
}
