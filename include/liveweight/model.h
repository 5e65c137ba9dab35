// What a model is made of, read from `config.json`: its dimensions, and the description of every parameter
// that the runtime wants: from which checkpoint tensors, how they are fused, which dimension a rank's shard
// cuts, what is tied. Nothing here knows about quantization.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "liveweight/dtype.h"
#include "liveweight/error.h"
#include "liveweight/tensor.h"

namespace liveweight {

// Rotary position embedding. Fields beyond `theta` are read by `type`.
struct RopeParameters {
  enum class Type : uint8_t { kDefault, kLinear, kLlama3 };
  Type type = Type::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position = 0;
  double partial_rotary_factor = 1.0;  // the share of head_dim that rotates
};

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM"
  std::string model_type;    // "llama"
  DType dtype = DType::kBF16;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position = 0;
  double rms_norm_eps = 1e-6;
  RopeParameters rope;
  std::vector<int64_t> sliding_window;  // a layer's window in tokens; 0 where it sees everything
  bool qkv_bias = false;
  bool output_bias = false;  // of o_proj
  bool mlp_bias = false;
  bool qk_norm = false;
  bool tied = false;  // the head is the embedding
  int64_t experts = 0;
  int64_t experts_per_token = 0;
  int64_t expert_intermediate_size = 0;
  bool normalize_expert_weights = true;  // norm_topk_prob: the chosen experts' weights sum to one
  std::vector<bool> sparse_layer;        // which layers route to experts
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;
  std::string quantization_config;  // the JSON text of that field, or empty
};

// Reads config.json in the spelling of transformers 4 and of 5. Errors name the field, what was expected and
// what came; an architecture that is not known is kUnsupported and lists those that are.
Result<ModelConfig> parse_model_config(std::string_view config_json);

// generation_config.json's eos ids win over the configuration's, as in Hugging Face; an empty text changes
// nothing.
Status apply_generation_config(std::string_view generation_config_json, ModelConfig& config);

// What a parameter does in the forward pass.
enum class Role : uint8_t {
  kEmbedding,
  kInputNorm,
  kQkv,
  kQkvBias,
  kQueryNorm,
  kKeyNorm,
  kOutput,
  kOutputBias,
  kPostNorm,
  kGateUp,
  kGateUpBias,
  kDown,
  kDownBias,
  kRouter,
  kExpertsGateUp,
  kExpertsDown,
  kFinalNorm,
  kHead,
};

// Along which dimension of a parameter a tensor-parallel rank's shard is cut.
enum class Cut : uint8_t { kReplicated, kRows, kCols };

// Rows of a checkpoint tensor that ranks share out among themselves in whole multiples of `indivisible` rows.
// Where there are fewer of those than ranks (key and value heads), ranks hold copies: `may_replicate`.
struct RowRange {
  int64_t rows = 0;
  int64_t indivisible = 1;
  bool may_replicate = false;
};

// One checkpoint tensor of a parameter. `ranges` follow one another and sum to its rows: one usually, three
// where the checkpoint itself holds fused q, k and v.
struct Member {
  std::string name;    // "model.layers.0.self_attn.q_proj.weight"
  Shape shape;         // as in the checkpoint
  int64_t matrix = 0;  // which expert
  std::vector<RowRange> ranges;
};

// A parameter as the runtime wants it, unsharded: `matrices` x [rows, cols]; 1-D tensors are [n, 1]. The
// members of a matrix are stacked along its rows in the order given.
struct ParameterDescription {
  std::string name;  // "model.layers.0.self_attn.qkv_proj.weight"
  Role role = Role::kEmbedding;
  int64_t layer = -1;
  int64_t matrices = 1;
  int64_t rows = 0;
  int64_t cols = 0;
  int rank = 2;  // 1 for norms and biases
  Cut cut = Cut::kReplicated;
  std::vector<Member> members;
};

struct ModelDescription {
  ModelConfig config;
  std::vector<ParameterDescription> parameters;
  // Checkpoint tensors that are another name of a tensor: {"lm_head.weight", "model.embed_tokens.weight"}.
  // With it, the parameter of the first name has the second as its member.
  std::vector<std::pair<std::string, std::string>> aliases;
};

Result<ModelDescription> describe_model(const ModelConfig& config);

// The half-open interval of rows of `range` that belong to `rank` of `ranks`, or an error that names
// `tensor`.
Result<std::pair<int64_t, int64_t>> rank_rows(const RowRange& range, int64_t ranks, int64_t rank,
                                              const std::string& tensor);

// Likewise for columns (kCols): [0, cols) shared out as evenly as whole columns allow.
std::pair<int64_t, int64_t> rank_cols(int64_t cols, int64_t ranks, int64_t rank);

// From the names a trainer uses to the checkpoint's: first `rules` in order (regular expression,
// replacement), then wrappers' prefixes and infixes (`_fsdp_wrapped_module.`, `_orig_mod.`, `module.`,
// `actor.`) go. Thread-safe.
class NameMap {
 public:
  NameMap();
  ~NameMap();
  NameMap(const NameMap&);
  NameMap& operator=(const NameMap&);
  // JSON: [["regular expression", "replacement"], ...].
  static Result<NameMap> parse(std::string_view json);
  Result<std::string> canonical(std::string_view name) const;
  // That, as a mirror and what applies deltas take it; of this map, for as long as it lives.
  std::function<Result<std::string>(std::string_view)> as_function() const;
  // The same without a copy where nothing changes; else `storage` holds it.
  Result<std::string_view> canonical(std::string_view name, std::string& storage) const;

 private:
  struct Rules;
  std::vector<std::shared_ptr<const Rules>> rules_;
};

// Tensors that checkpoints carry and no runtime loads (`rotary_emb.inv_freq`).
bool is_ignored_tensor(std::string_view canonical_name);

}  // namespace liveweight
